"""How a line of the server's own log looks: ``[LEVEL] message``, after the time if that is wanted."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import attrs

from .go_time import go_time

_LEVELS = {"debug": logging.DEBUG, "warn": logging.WARNING, "error": logging.ERROR}
_NAMES = {logging.WARNING: "WARN", logging.CRITICAL: "ERROR"}


def level_of(word: str) -> int:
    """Return the level that ``logLevel`` means: any spelling of case, and anything unknown is ``info``."""
    return _LEVELS.get(word.strip().lower(), logging.INFO)


@attrs.define(eq=False)
class LineFormat(logging.Formatter):
    """Formats the records of all loggers of this server."""

    time_format: str = ""
    """A name that `go_time` knows; anything else: no time."""

    def __attrs_post_init__(self) -> None:
        super().__init__("%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        line = f"[{_NAMES.get(record.levelno, record.levelname)}] {super().format(record)}"
        moment = datetime.fromtimestamp(record.created, UTC).astimezone() if self.time_format else None
        time = go_time(self.time_format, moment) if moment is not None else ""
        return f"{time} {line}" if time else line
