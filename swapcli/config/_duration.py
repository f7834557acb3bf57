"""Durations as text: ``1m30s``, ``1.5h``. Pure."""

from __future__ import annotations

import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_GROUP = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST = 2**63 * 1e-9


def parse_duration(text: str) -> float:
    """The seconds of *text*.

    Raises:
      ValueError: it is no duration.
    """
    sign, rest = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    if rest == "0":
        return 0.0
    total, at = 0.0, 0
    while at < len(rest) or not at:
        match = _GROUP.match(rest, at)
        if match is None:
            raise ValueError(f"{text!r} is no duration such as 30s, 1m30s or 1.5h")
        total += float(match[1]) * _UNITS[match[2]]
        at = match.end()
    if total >= _LONGEST:
        raise ValueError(f"{text!r} is too long a duration")
    return -total if sign == "-" else total
