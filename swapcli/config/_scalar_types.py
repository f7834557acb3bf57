"""Which YAML values a string, an integer, a boolean or a number field takes, and what it makes of them."""

from __future__ import annotations

import math
from typing import Any

from ._scalars import Timestamp, scalar_text, untyped

_TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"))
_FALSE = frozenset(("n", "N", "no", "No", "NO", "off", "Off", "OFF"))
_SHOWN = 60


class NotThisType(ValueError):
    """The value is of a type that the field does not take; says which."""


def type_of(value: Any) -> str:
    """*value*'s type, and itself where it is short, for a message."""
    match value:
        case None:
            return "null"
        case dict():
            return "a map"
        case list():
            return "a list"
        case bool():
            return f"the boolean {scalar_text(value)}"
        case Timestamp():
            return f"the timestamp {value}"
        case str():
            return f"the string {value if len(value) <= _SHOWN else value[:_SHOWN] + '…'!r}"
        case int():
            return f"the integer {value}"
        case _:
            return f"the number {scalar_text(value)}"


def _unfit(wanted: str, value: Any) -> NotThisType:
    return NotThisType(f"expected {wanted}, not {type_of(value)}")


def text(value: Any) -> str:
    """Any scalar, as its text. Raises `NotThisType`."""
    match value:
        case Timestamp():
            return str(value)
        case str():
            return value
        case bool() | int() | float():
            return scalar_text(value)
        case _:
            raise _unfit("a string", value)


def integer(value: Any) -> int:
    """An integer, or a float cut towards zero; no string, even of digits. Raises `NotThisType`."""
    match value:
        case bool():
            raise _unfit("an integer", value)
        case int() if -(2**63) <= value < 2**63:
            return value
        case float() if math.isfinite(value) and -(2**63) <= value < 2**63:
            return int(value)
        case _:
            raise _unfit("an integer", value)


def number(value: Any) -> float:
    """A finite integer or float, kept as it is. Raises `NotThisType`."""
    match value:
        case bool():
            raise _unfit("a number", value)
        case int():
            return value
        case float() if math.isfinite(value):
            return value
        case _:
            raise _unfit("a number", value)


def boolean(value: Any) -> bool:
    """A boolean, or a word of YAML 1.1 for one, but no string ``true``. Raises `NotThisType`."""
    match value:
        case bool():
            return value
        case str() if value in _TRUE:
            return True
        case str() if value in _FALSE:
            return False
        case _:
            raise _unfit("true or false", value)


def free_form(value: Any) -> Any:
    """*value* as it is where anything may stand: see `_scalars.untyped`."""
    match value:
        case dict():
            return {key: free_form(item) for key, item in value.items()}
        case list():
            return [free_form(item) for item in value]
        case _:
            return untyped(value)
