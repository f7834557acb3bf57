"""Reads an answer while it passes: what was used, why it failed, and the body where it is wanted. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from .content_decoding import IDENTITY, MOST, Decoding, DecodingFailed, decoding_of
from .error_text import error_text
from .growing_bytes import grown
from .json_usage import JsonUsage
from .stream_usage import StreamUsage
from .tokens import Tokens

RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]

_NONE = Tokens()
_ERROR_BODY = 64 * 1024
"""Bytes of an answer that tells of a failure; the text that matters is short."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer turned out to be."""

    tokens: Tokens = _NONE
    busy_ms: int = 0
    """How long the engine says it worked; 0 when it does not say."""
    error: str = ""
    body: bytes | None = None
    """Decoded; ``None`` when it was not to be kept, is too long, or could not be decoded."""


class ResponseMeter(msgspec.Struct, eq=False):
    """For one answer: `start`, `feed` for each piece, and at last `read`.

    The first two are cheap, and are called as the answer passes; `read` may take milliseconds, and may be
    called in another thread. Of an answer in one piece, as most are, all is left to it.
    """

    path: str
    keep_body: int = 0
    """Keep a body of up to this many bytes."""
    status: int = 0
    """0: no answer was begun."""
    content_type: str = ""
    """Known once it is `read`."""
    _headers: RawHeaders = ()
    _first: bytes = b""
    """A first piece, as long as there is no second one."""
    _decoding: Decoding = IDENTITY
    _usage: StreamUsage | JsonUsage | None = None
    _body: bytes | bytearray = b""
    _limit: int = 0
    """Of ``_body``; when it does not fit it is not kept at all."""
    _decoding_error: str = ""
    is_empty: bool = True
    """The answer has, so far, no body."""

    def start(self, status: int, headers: RawHeaders) -> None:
        """The answer has begun."""
        self.status, self._headers = status, headers

    def _begin(self) -> None:
        """Look at the head, and at the first piece."""
        encoding = ""
        for name, value in self._headers:
            match name.lower():
                case b"content-type":
                    self.content_type = value.decode("utf-8", "replace")
                case b"content-encoding":
                    encoding = value.decode("latin-1")
                case _:
                    pass
        if encoding:
            self._decoding = decoding_of(encoding)
        if self.status != 200:
            self._limit = _ERROR_BODY
        else:
            self._limit = self.keep_body
            if "text/event-stream" in self.content_type:
                self._usage = StreamUsage()
            else:
                self._usage = JsonUsage(infill=self.path.startswith("/infill"))
        first, self._first = self._first, b""
        self._take(first)

    def feed(self, data: bytes) -> None:
        """The next piece of the body, as it was sent."""
        if not data:
            return
        if self.is_empty:
            self.is_empty, self._first = False, data
            return
        if self._first:
            self._begin()
        self._take(data)

    def _take(self, data: bytes) -> None:
        if self._decoding_error:
            return
        try:
            data = self._decoding.feed(data)
        except DecodingFailed as error:
            self._decoding_error = str(error)
            return
        if self._usage is not None:
            self._usage.feed(data)
        if self._limit:
            if len(self._body) + len(data) > self._limit:
                self.drop_body()
            else:
                self._body = grown(self._body, data)

    @property
    def kept(self) -> int:
        """Bytes of the body that are kept."""
        return len(self._first) or len(self._body)

    @property
    def unread(self) -> int:
        """Bytes, besides the kept ones, that `read` has to look at. One that is encoded may hold many."""
        if self._first:
            return MOST if any(name.lower() == b"content-encoding" for name, _ in self._headers) else 0
        return self._usage.unread if isinstance(self._usage, JsonUsage) else 0

    def drop_body(self) -> None:
        """Keep none of the body from now on."""
        self.keep_body = self._limit = 0
        self._body = b""

    def read(self, *, is_complete: bool) -> Reading:
        """Sum up; once, at the end.

        Args:
          is_complete: the answer was sent to its end. Of one that was broken off, what passed counts.
        """
        if self.is_empty or self._first:
            self._begin()
        if is_complete and not self.is_empty and not self._decoding_error:
            try:
                self._decoding.finish()
            except DecodingFailed as error:
                self._decoding_error = str(error)
        if self.status != 200:
            if self._decoding_error:
                return Reading(error=f"response decode failed: {self._decoding_error}")
            return Reading(error=error_text(self.status, bytes(self._body)))
        if self._decoding_error:
            return Reading(error=f"response decompression failed: {self._decoding_error}")
        assert self._usage is not None
        figures = self._usage.figures()
        body = bytes(self._body) if self._limit else None
        return Reading(tokens=figures.tokens, busy_ms=figures.busy_ms, body=body)
