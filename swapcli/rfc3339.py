"""Timestamps as clients of the HTTP API write them."""

from __future__ import annotations

import re
from datetime import datetime

_FORM = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:[.,](?P<fraction>\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def parse(text: str) -> datetime:
    """Return the moment that *text* means, to the microsecond. Raises ValueError: it is not RFC 3339."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError(f"not a timestamp: {text!r}")
    microseconds = (form["fraction"] or "0")[:6].ljust(6, "0")
    return datetime.fromisoformat(f"{form[1]}.{microseconds}{form[3]}".upper())
