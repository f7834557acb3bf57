"""Points in time, written in the layouts that Go's ``time`` package has names for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def go_time(layout: str, moment: datetime) -> str:
    """Return *moment*, which must know its zone, in a layout such as ``rfc3339`` or ``kitchen``.

    Args:
      layout: its name, in any case, blanks around it allowed; any other gives an empty string.
    """
    write = _LAYOUTS.get(layout.strip().lower())
    return write(moment) if write is not None else ""


def _clock(at: datetime) -> str:
    return f"{at.hour:02}:{at.minute:02}:{at.second:02}"


def _offset(at: datetime, separator: str = "") -> str:
    delta = at.utcoffset()
    minutes = int(delta.total_seconds() // 60) if delta is not None else 0
    sign, minutes = ("-", -minutes) if minutes < 0 else ("+", minutes)
    return f"{sign}{minutes // 60:02}{separator}{minutes % 60:02}"


def _offset_or_z(at: datetime) -> str:
    return "Z" if not at.utcoffset() else _offset(at, ":")


def _day(at: datetime) -> str:
    return _DAYS[at.weekday()][:3]


def _month(at: datetime) -> str:
    return _MONTHS[at.month - 1]


def _stamp(at: datetime, digits: int = 0) -> str:
    # A clock of microseconds is what Python has; finer digits are zeros.
    fraction = f".{at.microsecond:06}000"[: digits + 1] if digits else ""
    return f"{_month(at)} {at.day:2} {_clock(at)}{fraction}"


def _rfc1123(at: datetime, zone: str) -> str:
    return f"{_day(at)}, {at.day:02} {_month(at)} {at.year} {_clock(at)} {zone}"


def _rfc822(at: datetime, zone: str) -> str:
    return f"{at.day:02} {_month(at)} {at.year % 100:02} {at.hour:02}:{at.minute:02} {zone}"


def _rfc3339(at: datetime, fraction: str = "") -> str:
    return f"{at.year:04}-{at.month:02}-{at.day:02}T{_clock(at)}{fraction}{_offset_or_z(at)}"


def _kitchen(at: datetime) -> str:
    return f"{at.hour % 12 or 12}:{at.minute:02}{'AM' if at.hour < 12 else 'PM'}"


_LAYOUTS: Mapping[str, Callable[[datetime], str]] = {
    "ansic": lambda at: f"{_day(at)} {_stamp(at)} {at.year}",
    "unixdate": lambda at: f"{_day(at)} {_stamp(at)} {at.tzname()} {at.year}",
    "rubydate": lambda at: f"{_day(at)} {_month(at)} {at.day:02} {_clock(at)} {_offset(at)} {at.year}",
    "rfc822": lambda at: _rfc822(at, at.tzname() or ""),
    "rfc822z": lambda at: _rfc822(at, _offset(at)),
    "rfc850": lambda at: (
        f"{_DAYS[at.weekday()]}, {at.day:02}-{_month(at)}-{at.year % 100:02} {_clock(at)} {at.tzname()}"
    ),
    "rfc1123": lambda at: _rfc1123(at, at.tzname() or ""),
    "rfc1123z": lambda at: _rfc1123(at, _offset(at)),
    "rfc3339": _rfc3339,
    "rfc3339nano": lambda at: _rfc3339(at, f".{at.microsecond:06}".rstrip("0").rstrip(".")),
    "kitchen": _kitchen,
    "stamp": _stamp,
    "stampmilli": lambda at: _stamp(at, 3),
    "stampmicro": lambda at: _stamp(at, 6),
    "stampnano": lambda at: _stamp(at, 9),
}
