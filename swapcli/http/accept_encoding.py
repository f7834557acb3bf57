"""Which codings an answer may have that is to be read on its way. Pure."""

from __future__ import annotations

from collections.abc import Iterable

_READABLE = frozenset({b"gzip", b"deflate"})


def readable_only(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return *headers* with an ``Accept-Encoding`` of which only gzip and deflate are left, or without it."""
    kept: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        if name == b"accept-encoding":
            items = (item.strip() for item in value.split(b","))
            value = b", ".join(item for item in items if _coding(item) in _READABLE)
            if not value:
                continue
        kept.append((name, value))
    return kept


def _coding(item: bytes) -> bytes:
    return item.partition(b";")[0].strip().lower()
