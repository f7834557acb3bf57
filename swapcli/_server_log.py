"""The server's own log: lines of ``[LEVEL] message`` on standard output, as llama-swap writes them."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

_LEVELS = {"debug": logging.DEBUG, "warn": logging.WARNING, "error": logging.ERROR}
_NAMES = {logging.WARNING: "WARN", logging.CRITICAL: "ERROR"}


class _LevelFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"[{_NAMES.get(record.levelno, record.levelname)}] {super().format(record)}"


class _StandardOutput(logging.StreamHandler[TextIO]):
    """Goes on when nobody reads any more (``swapcli serve | head``, a closed terminal)."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def set_up_logging(level: str) -> None:
    """Send the logs of swapcli and swapcore to standard output.

    Args:
      level: ``debug``, ``info``, ``warn`` or ``error`` in any spelling of case; anything else is ``info``.
    """
    handler = _StandardOutput(sys.stdout)
    handler.setFormatter(_LevelFormatter("%(message)s"))
    for name in ("swapcli", "swapcore"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(_LEVELS.get(level.strip().lower(), logging.INFO))
        logger.propagate = False
