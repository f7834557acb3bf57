"""Reads an answer while it passes: what was used, why it failed, and the body where it is wanted. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from .content_decoding import Decoding, DecodingFailed, Identity, decoding_of
from .error_text import error_text
from .json_usage import JsonUsage
from .stream_usage import StreamUsage
from .tokens import Tokens

_NONE = Tokens()
_ERROR_BODY = 64 * 1024
"""Bytes of an answer that tells of a failure; the text that matters is short."""


@attrs.frozen(kw_only=True)
class Reading:
    """What an answer turned out to be."""

    tokens: Tokens = _NONE
    busy_ms: int = 0
    """How long the engine says it worked; 0 when it does not say."""
    error: str = ""
    body: bytes | None = None
    """Decoded; ``None`` when it was not to be kept, is too long, or could not be decoded."""


@attrs.define(eq=False)
class ResponseMeter:
    """For one answer: `start`, `feed` for each piece, and at last `read`.

    The first two are cheap, and are called as the answer passes; `read` may take milliseconds, and may be
    called in another thread.
    """

    path: str
    keep_body: int = 0
    """Keep a body of up to this many bytes."""
    status: int = attrs.field(default=0, init=False)
    """0: no answer was begun."""
    content_type: str = attrs.field(default="", init=False)
    _decoding: Decoding = attrs.field(factory=Identity, init=False)
    _usage: StreamUsage | JsonUsage | None = attrs.field(default=None, init=False)
    _body: bytearray = attrs.field(factory=bytearray, init=False)
    _limit: int = attrs.field(default=0, init=False)
    """Of ``_body``; when it does not fit it is not kept at all."""
    _decoding_error: str = attrs.field(default="", init=False)
    is_empty: bool = attrs.field(default=True, init=False)
    """The answer has, so far, no body."""

    def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """The answer has begun."""
        self.status = status
        encoding = ""
        for name, value in headers:
            match name.lower():
                case b"content-type":
                    self.content_type = value.decode("utf-8", "replace")
                case b"content-encoding":
                    encoding = value.decode("latin-1")
                case _:
                    pass
        if encoding:
            self._decoding = decoding_of(encoding)
        if status != 200:
            self._limit = _ERROR_BODY
            return
        self._limit = self.keep_body
        if "text/event-stream" in self.content_type:
            self._usage = StreamUsage()
        else:
            self._usage = JsonUsage(infill=self.path.startswith("/infill"))

    def feed(self, data: bytes) -> None:
        """The next piece of the body, as it was sent."""
        if not data or self._decoding_error:
            return
        self.is_empty = False
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
                self._body += data

    @property
    def kept(self) -> int:
        """Bytes of the body that are kept."""
        return len(self._body)

    @property
    def unread(self) -> int:
        """Bytes, besides the kept ones, that `read` has to look at."""
        return self._usage.unread if isinstance(self._usage, JsonUsage) else 0

    def drop_body(self) -> None:
        """Keep none of the body from now on."""
        self._limit = 0
        self._body.clear()

    def read(self, *, is_complete: bool) -> Reading:
        """Sum up; once, at the end.

        Args:
          is_complete: the answer was sent to its end. Of one that was broken off, what passed counts.
        """
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
