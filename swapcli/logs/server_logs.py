"""The logs of the whole server: its own lines, the output of all models, and what of both is printed.

A model's own log is `swapcore.Supervisor.log`. All histories are 100 KiB.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Literal, TypeAlias

import attrs
import trio

from swapcore import ModelId, ModelLog

from .line_format import LineFormat, level_of
from .printer import Printer

Source: TypeAlias = Literal["proxy", "upstream"]
"""``proxy``: this server; ``upstream``: the models. The words that the configuration has for them."""

_PRINTED: dict[str, frozenset[Source]] = {
    "proxy": frozenset(("proxy",)),
    "upstream": frozenset(("upstream",)),
    "both": frozenset(("proxy", "upstream")),
    "none": frozenset(),
}
_LOGGERS = ("swapcli", "swapcore")
_CLOSE_PATIENCE = 0.3
"""Seconds without progress after which the rest is given up, so that a stuck pipe delays no end."""


@attrs.define(eq=False)
class ServerLogs:
    """Made once, before the trio run; it outlives configurations."""

    _format: LineFormat
    printer: Printer | None
    """``None``: there is no standard output."""
    on_write: Callable[[Source, bytes], None] = lambda _source, _data: None
    """Called with everything that is written, in the trio run's thread; must not block."""
    proxy: ModelLog = attrs.field(factory=ModelLog, init=False)
    upstream: ModelLog = attrs.field(factory=ModelLog, init=False)
    combined: ModelLog = attrs.field(factory=ModelLog, init=False)
    """What is printed."""
    _printed: frozenset[Source] = attrs.field(default=_PRINTED["proxy"], init=False)
    _is_mid_line: bool = attrs.field(default=False, init=False)
    """A model has printed a part of a line."""
    _token: trio.lowlevel.TrioToken | None = attrs.field(default=None, init=False)

    @classmethod
    def unprinted(cls) -> ServerLogs:
        """Return logs that no logger writes to and nobody prints."""
        return cls(LineFormat(), None)

    def apply(self, *, level: str, time_format: str, to_stdout: str) -> None:
        """Act on ``logLevel``, ``logTimeFormat`` and ``logToStdout``, from the next line on."""
        self._format.time_format = time_format
        self._printed = _PRINTED[to_stdout]
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(level_of(level))

    def enter(self) -> None:
        """To be called in the trio run that the logs are for, before any other thread logs."""
        self._token = trio.lowlevel.current_trio_token()

    def write_output(self, _model: ModelId, data: bytes) -> None:
        """Take what a model's process has written. For the trio run's thread."""
        self._write("upstream", data)

    def write_line(self, line: bytes) -> None:
        """Take a line of the server's own log, from any thread."""
        if self._token is None or trio.lowlevel.in_trio_run():
            self._write("proxy", line)
        else:
            try:
                self._token.run_sync_soon(self._write, "proxy", line)
            except trio.RunFinishedError:
                self._write("proxy", line)

    def count_dropped(self) -> int:
        """Return how many lines were not printed, because nobody read them."""
        return 0 if self.printer is None else self.printer.dropped

    def close(self, *, limit: float = 2.0) -> None:
        """Print what is still to be printed, for up to *limit* seconds. Nothing is printed after it."""
        if self.printer is not None:
            self.printer.close(patience=min(_CLOSE_PATIENCE, limit), limit=limit)

    def _write(self, source: Source, data: bytes) -> None:
        (self.proxy if source == "proxy" else self.upstream).write(data)
        if source in self._printed:
            self._print(b"\n" + data if self._is_mid_line and source == "proxy" else data)
            self._is_mid_line = not data.endswith(b"\n")
        self.on_write(source, data)

    def _print(self, data: bytes) -> None:
        self.combined.write(data)
        if self.printer is not None:
            self.printer.write(data)


def open_server_logs() -> ServerLogs:
    """Take over the loggers of swapcli and swapcore. `ServerLogs.close` is due at the end."""
    line_format = LineFormat()

    def report(lines: int) -> bytes:
        text = "%d line(s) are missing here: standard output did not take them in time"
        record = logging.LogRecord("swapcli", logging.WARNING, __file__, 0, text, (lines,), None)
        return _as_bytes(line_format.format(record))

    descriptor = _standard_output()
    logs = ServerLogs(line_format, Printer(descriptor, report) if descriptor is not None else None)
    handler = _ToServerLogs(logs)
    handler.setFormatter(line_format)
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
    return logs


class _ToServerLogs(logging.Handler):
    def __init__(self, logs: ServerLogs) -> None:
        super().__init__()
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = _as_bytes(self.format(record))
        except Exception:  # a record whose arguments do not fit its message
            self.handleError(record)
        else:
            self._logs.write_line(line)


def _as_bytes(line: str) -> bytes:
    return line.encode("utf-8", "backslashreplace") + b"\n"


def _standard_output() -> int | None:
    """Return its descriptor. Where it was closed, another file may have the number by now."""
    try:
        return sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return None
