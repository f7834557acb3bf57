"""A request that has ended, on its way into the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from .captures import Capture, captured_parts, pack
from .header_maps import header_map
from .record import ActivityRecord
from .response_meter import Reading, ResponseMeter

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]
Body: TypeAlias = Sequence[bytes | memoryview]
"""In pieces, as it is sent."""

_DECODED = frozenset({"Content-Encoding"})
CLIENT_LEFT = 499
"""Status of a request whose client left before it was answered."""


class Exchanged(msgspec.Struct, frozen=True):
    """What a capture is made of, as it came over the wire."""

    asked_path: str
    """As the client asked for it; it says what may be kept."""
    request_headers: RawHeaders
    request_body: Body
    """As it was sent on."""
    response_headers: RawHeaders


class Measured(msgspec.Struct, frozen=True):
    """What becomes of it: a row, and a packed capture where one is kept."""

    record: ActivityRecord
    capture: bytes | None


class EndedRequest(msgspec.Struct, eq=False, kw_only=True):
    """Everything about the request, not yet looked at: that is left to `measure`."""

    id: int
    ended_at: int
    """Unix seconds."""
    model: str
    path: str
    duration_ms: int
    metadata: Mapping[str, str]
    meter: ResponseMeter
    is_complete: bool
    """The answer was sent to its end."""
    exchanged: Exchanged | None
    """``None``: nothing is captured."""
    size: int = 0
    """Bytes that it keeps in memory until it is measured."""
    _measured: Measured | None = None

    def __post_init__(self) -> None:
        self.size = self.meter.kept
        if self.exchanged is not None:
            self.size += sum(map(len, self.exchanged.request_body))

    @property
    def unread(self) -> int:
        """Bytes that `measure` still has to look at."""
        return 0 if self._measured is not None else self.size + self.meter.unread

    def forget_capture(self) -> None:
        """Give up the capture, for want of memory; the figures stay."""
        self.exchanged = None
        if self.meter.status == 200:
            self.meter.drop_body()
        self.size = self.meter.kept

    def measure(self) -> Measured:
        """Work it out; the second time, return the same. For a worker thread, unless `unread` is little."""
        if self._measured is None:
            reading = self.meter.read(is_complete=self.is_complete)
            status = self.meter.status or CLIENT_LEFT
            record = ActivityRecord(
                id=self.id,
                recorded_at=self.ended_at,
                model=_valid(self.model),
                path=_valid(self.path),
                content_type=self.meter.content_type,
                status=status,
                tokens=reading.tokens,
                duration_ms=max(self.duration_ms, reading.busy_ms),
                error=reading.error if self.meter.status else "the client closed the request",
                metadata=self.metadata,
            )
            self._measured = Measured(record, self._capture(reading))
            self.exchanged = None
            self.meter.drop_body()
            self.size = 0
        return self._measured

    def _capture(self, reading: Reading) -> bytes | None:
        exchanged = self.exchanged
        if exchanged is None:
            return None
        parts = captured_parts(exchanged.asked_path)
        succeeded = self.meter.status == 200
        if succeeded and (
            self.meter.is_empty or reading.error or (parts.response_body and reading.body is None)
        ):
            return None
        return pack(
            Capture(
                path=_valid(self.path),
                request_headers=header_map(exchanged.request_headers),
                request_body=b"".join(exchanged.request_body) if parts.request_body else None,
                response_headers=header_map(exchanged.response_headers, without=_DECODED),
                response_body=reading.body if succeeded and parts.response_body else None,
            )
        )


def _valid(text: str) -> str:
    """A name out of a client's JSON may hold half a surrogate pair, which no database takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
