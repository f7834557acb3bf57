"""What was asked and what was answered, kept whole for the requests of the last while, in little memory."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs
import msgspec

_FAST = 1
"""zlib's level; text shrinks to a quarter with it, and higher ones cost several times as much."""
_SMALL = 4 * 1024
"""Bytes that are not worth compressing: a thousand of them are no more than the smallest buffer."""
_PLAIN, _COMPRESSED = b"p", b"z"


@attrs.frozen
class CapturedParts:
    """What of a request and its answer is kept. Sound and images are not: they would push out all else."""

    request_body: bool = True
    response_body: bool = True


_ALL = CapturedParts()
_BY_PATH: Mapping[str, CapturedParts] = MappingProxyType(
    {
        "/v1/audio/speech": CapturedParts(response_body=False),
        "/v1/images/generations": CapturedParts(response_body=False),
        "/sdapi/v1/txt2img": CapturedParts(response_body=False),
        "/v1/audio/voices": CapturedParts(request_body=False),
        "/v1/audio/transcriptions": CapturedParts(request_body=False),
        "/v1/images/edits": CapturedParts(request_body=False, response_body=False),
        "/sdapi/v1/img2img": CapturedParts(request_body=False, response_body=False),
    }
)


def captured_parts(path: str) -> CapturedParts:
    """Return what is kept of a request for *path*, as the client asked for it."""
    return _BY_PATH.get(path, _ALL)


class Capture(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One request and its answer. ``None`` stands for what was not kept."""

    path: str
    request_headers: dict[str, str]
    request_body: bytes | None
    response_headers: dict[str, str]
    response_body: bytes | None

    def as_json(self, id: int) -> dict[str, Any]:
        """Return what clients get; the keys, and their order, are llama-swap's."""
        return {
            "id": id,
            "req_path": self.path,
            "req_headers": self.request_headers,
            "req_body": _base64(self.request_body),
            "resp_headers": self.response_headers,
            "resp_body": _base64(self.response_body),
        }


def _base64(body: bytes | None) -> str | None:
    return None if body is None else base64.b64encode(body).decode()


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Capture)


def pack(capture: Capture) -> bytes:
    """Return it in few bytes. Takes time; for a worker thread."""
    packed = _ENCODER.encode(capture)
    return _PLAIN + packed if len(packed) <= _SMALL else _COMPRESSED + zlib.compress(packed, _FAST)


def unpack(packed: bytes) -> Capture:
    """Undo `pack`. Takes time; for a worker thread."""
    content = memoryview(packed)[1:]
    return _DECODER.decode(content if packed.startswith(_PLAIN) else zlib.decompress(content))


@attrs.define(eq=False)
class CaptureBuffer:
    """Packed captures by the id of their record, as many of the newest as fit into ``limit`` bytes."""

    limit: int
    """0 keeps nothing."""
    _packed: dict[int, bytes] = attrs.field(factory=dict[int, bytes], init=False)
    _size: int = attrs.field(default=0, init=False)

    def __contains__(self, id: int) -> bool:
        return id in self._packed

    def get(self, id: int) -> bytes | None:
        """Return a packed capture; ``None`` when it was not kept, or has gone."""
        return self._packed.get(id)

    def put(self, id: int, packed: bytes) -> None:
        """Keep a capture; the oldest make room. One that is larger than everything is not kept."""
        if len(packed) <= self.limit:
            self._shrink(self.limit - len(packed))
            self._packed[id] = packed
            self._size += len(packed)

    def resize(self, limit: int) -> None:
        """Keep up to another number of bytes from now on."""
        self.limit = limit
        self._shrink(limit)

    def _shrink(self, limit: int) -> None:
        while self._size > limit:
            self._size -= len(self._packed.pop(next(iter(self._packed))))
