"""Headers as records of requests show them: one value each, and no secrets. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

_SECRET = frozenset({"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie"})
_REDACTED = "[REDACTED]"


def header_map(
    headers: Iterable[tuple[bytes, bytes]], *, without: frozenset[str] = frozenset()
) -> dict[str, str]:
    """Return the first value of each header under its usual spelling, ``X-Session-Id``.

    Args:
      without: names, in that spelling, that are left out, as ``Host`` always is.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        usual = _usual_name(name)
        if usual == "Host" or usual in found or usual in without:
            continue
        found[usual] = _REDACTED if _is_secret(usual) else value.decode("utf-8", "replace")
    return found


@lru_cache(maxsize=1024)
def _usual_name(name: bytes) -> str:
    """The same few names come with every request."""
    return "-".join(part.capitalize() for part in name.decode("latin-1").lower().split("-"))


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    """Azure and Google spell ``X-Api-Key`` in their own ways."""
    return name in _SECRET or name.endswith("Api-Key")
