"""Why a request failed, in one line, from the answer that it got. Pure."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

_LONGEST = 500
"""Bytes; longer ones are cut."""


def error_text(status: int, body: bytes) -> str:
    """Return the first text that says something of ``error.message``, ``error``, ``message``, ``detail``.

    Without one, as in a page or a plain text, the reason that belongs to the status.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return reason_of(status)
    if not isinstance(document, dict):
        return reason_of(status)
    error = document.get("error")
    candidates: tuple[Any, ...] = (
        error.get("message") if isinstance(error, dict) else None,
        error,
        document.get("message"),
        document.get("detail"),
    )
    texts = (text.strip() for text in candidates if isinstance(text, str))
    return _cut(next((text for text in texts if text), "")) or reason_of(status)


def reason_of(status: int) -> str:
    """``502 Bad Gateway``, or ``HTTP 499`` where no standard has a word for it."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _cut(text: str) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= _LONGEST:
        return encoded.decode()
    return encoded[:_LONGEST].decode("utf-8", "ignore") + "..."
