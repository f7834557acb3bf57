"""Headers as records of requests show them: one value each, and no secrets. Pure."""

from __future__ import annotations

from collections.abc import Iterable

_SECRET = frozenset({b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"})
_REDACTED = "[REDACTED]"


def header_map(
    headers: Iterable[tuple[bytes, bytes]], *, without: frozenset[bytes] = frozenset()
) -> dict[str, str]:
    """Return the first value of each header under its usual spelling, ``X-Session-Id``.

    Args:
      without: names, in lower case, that are left out, as ``Host`` always is.
    """
    found: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower == b"host" or lower in without:
            continue
        usual = "-".join(part.capitalize() for part in lower.decode("latin-1").split("-"))
        found.setdefault(usual, _REDACTED if _is_secret(lower) else value.decode("utf-8", "replace"))
    return found


def _is_secret(name: bytes) -> bool:
    """Azure and Google spell `x-api-key` in their own ways."""
    return name in _SECRET or name.endswith(b"api-key")
