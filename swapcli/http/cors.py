"""The answer to a browser that asks, before a request to another origin, what it may send. Pure."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_USUAL_HEADERS = "Content-Type, Authorization, Accept, X-Requested-With"


def preflight_headers(requested: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of the 204 answer to any ``OPTIONS`` request.

    Args:
      requested: the request's ``Access-Control-Request-Headers``; what in it is a header name is allowed.
    """
    allowed = _USUAL_HEADERS
    if requested:
        names = (name.strip() for name in requested.split(","))
        allowed = ", ".join(name for name in names if _TOKEN.fullmatch(name))
    return [
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Access-Control-Allow-Methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
        (b"Access-Control-Allow-Headers", allowed.encode("latin-1")),
        (b"Access-Control-Max-Age", b"86400"),
    ]
