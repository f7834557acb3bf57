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
        usual, is_secret = _looked_up(name)
        if usual == "Host" or usual in found or usual in without:
            continue
        found[usual] = _REDACTED if is_secret else value.decode("utf-8", "replace")
    return found


@lru_cache(maxsize=1024)
def _looked_up(name: bytes) -> tuple[str, bool]:
    """The usual spelling, and whether the value is a secret. The same few names come with every request."""
    usual = "-".join(part.capitalize() for part in name.decode("latin-1").lower().split("-"))
    # Azure and Google spell X-Api-Key in their own ways.
    return usual, usual in _SECRET or usual.endswith("Api-Key")
