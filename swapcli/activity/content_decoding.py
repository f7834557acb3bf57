"""Bodies without their ``Content-Encoding``, piece by piece. Pure.

The two codings that the standard library knows. Clients are made to ask for no other where it matters.
"""

from __future__ import annotations

import zlib
from typing import Protocol

import attrs

MOST = 256 * 1024 * 1024
"""Bytes that one body may grow to."""


class DecodingFailed(Exception):
    """The body is not what its ``Content-Encoding`` says."""


class Decoding(Protocol):
    """Takes a body apart."""

    def feed(self, data: bytes) -> bytes:
        """Return what *data* adds to the decoded body. Raises `DecodingFailed`."""
        ...

    def finish(self) -> None:
        """The body has ended. Raises `DecodingFailed` if it should not have."""
        ...


def decoding_of(content_encoding: str) -> Decoding:
    """Return what decodes a body; one with another coding than gzip and deflate stays as it is."""
    match content_encoding.strip().lower():
        case "gzip" | "x-gzip":
            return Zlib(31)
        case "deflate":
            return Zlib(None)
        case _:
            return IDENTITY


@attrs.frozen
class Identity:
    """Nothing to do."""

    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> None:
        pass


IDENTITY = Identity()


@attrs.define(eq=False)
class Zlib:
    """gzip with any number of members, or deflate with or without zlib's header: servers send both."""

    _wbits: int | None
    """As `zlib.decompressobj` takes it; ``None``: the first bytes will tell."""
    _stream: zlib._Decompress | None = attrs.field(default=None, init=False)
    _head: bytes = attrs.field(default=b"", init=False)
    _size: int = attrs.field(default=0, init=False)

    def feed(self, data: bytes) -> bytes:
        if self._wbits is None:
            self._head += data
            if len(self._head) < 2:
                return b""
            self._wbits, data = (15 if _has_zlib_header(self._head) else -15), self._head
        pieces: list[bytes] = []
        while data:
            if self._stream is None:
                self._stream = zlib.decompressobj(self._wbits)
            try:
                pieces.append(self._stream.decompress(data, MOST + 1 - self._size))
            except zlib.error as error:
                raise DecodingFailed(str(error)) from None
            self._size += len(pieces[-1])
            if self._size > MOST:
                raise DecodingFailed(f"it has more than {MOST} bytes")
            data = b""
            if self._stream.eof:
                data, self._stream = self._stream.unused_data, None
        return b"".join(pieces)

    def finish(self) -> None:
        if self._stream is not None or (self._wbits is None and self._head):
            raise DecodingFailed("unexpected end of the data")


def _has_zlib_header(head: bytes) -> bool:
    """RFC 1950, section 2.2."""
    return head[0] & 0x0F == 8 and (head[0] << 8 | head[1]) % 31 == 0
