"""Figures in an answer that is a stream of server-sent events, read as it passes. Pure.

Nearly every event of a stream has no figures in it, and is passed over with a search for the few words that
could announce some.
"""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from .tokens import UsageFigures

LONGEST_LINE = 8 * 1024 * 1024
"""The last event of OpenAI's Responses API repeats the whole answer. A longer line is passed over."""


class _Event(msgspec.Struct):
    usage: Any = None
    timings: Any = None
    metrics: Any = None
    response: msgspec.Raw = msgspec.Raw(b"")
    message: msgspec.Raw = msgspec.Raw(b"")


class _Inner(msgspec.Struct):
    usage: Any = None


_EVENT = msgspec.json.Decoder(_Event)
_INNER = msgspec.json.Decoder(_Inner)


@attrs.define(eq=False)
class StreamUsage:
    """Feed it the stream piece by piece; at the end, `figures` says what was in it."""

    _figures: UsageFigures = attrs.field(factory=UsageFigures, init=False)
    _line: bytearray = attrs.field(factory=bytearray, init=False)
    """The beginning of a line whose end has not come yet."""
    _too_long: bool = attrs.field(default=False, init=False)

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        end = data.rfind(b"\n")
        if end < 0:
            self._keep(data)
            return
        if self._line or self._too_long:
            first = data.index(b"\n")
            self._keep(data[:first])
            line, too_long, self._too_long = bytes(self._line), self._too_long, False
            self._line.clear()
            if not too_long:
                self._read(line)
            data, end = data[first + 1 :], end - first - 1
        if end >= 0 and _has_sign(data):
            for line in data[:end].split(b"\n"):
                self._read(line)
        if end + 1 < len(data):
            self._keep(data[end + 1 :])

    def figures(self) -> UsageFigures:
        """Return what was found. The stream has ended; a last line needs no line end."""
        if not self._too_long:
            self._read(bytes(self._line))
        self._line.clear()
        return self._figures

    def _keep(self, data: bytes) -> None:
        if len(self._line) + len(data) > LONGEST_LINE:
            self._too_long = True
            self._line.clear()
        elif not self._too_long:
            self._line += data

    def _read(self, line: bytes) -> None:
        if not _has_sign(line):
            return
        line = line.strip()
        if not line.startswith(b"data:"):
            return
        try:
            event = _EVENT.decode(line[5:])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        for usage in (event.usage, _inner_usage(event.response), _inner_usage(event.message)):
            self._figures.add_usage(usage)
        self._figures.add_timings(event.timings)
        self._figures.add_metrics(event.metrics)


def _has_sign(data: bytes) -> bool:
    return b"usage" in data or b"timings" in data or b"metrics" in data


def _inner_usage(raw: msgspec.Raw) -> Any:
    text = bytes(raw)
    if b"usage" not in text:
        return None
    try:
        return _INNER.decode(text).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
