"""Which YAML values a string, an integer, a boolean or a number field takes, and what it makes of them."""

from __future__ import annotations

import math
from typing import Any

from ._scalars import Timestamp, scalar_text, untyped

_TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"))
_FALSE = frozenset(("n", "N", "no", "No", "NO", "off", "Off", "OFF"))
_SHOWN = 60


class NotThisType(ValueError):
    """The value is of a type that the field does not take; says which.

    ``discreet`` says it without the value, for those that are secret.
    """

    def __init__(self, wanted: str, value: Any, *, hint: str = "") -> None:
        super().__init__(f"expected {wanted}, not {type_of(value)}{hint}")
        self.discreet = f"expected {wanted}, not {_kind_of(value)}{hint}"


def type_of(value: Any) -> str:
    """*value*'s type, and itself where it is short, for a message."""
    match value:
        case None | dict() | list():
            return _kind_of(value)
        case Timestamp():
            shown = str(value)
        case str():
            shown = repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…")
        case _:
            shown = scalar_text(value)
    return f"the {_kind_of(value).partition(' ')[2]} {shown}"


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case dict():
            return "a map"
        case list():
            return "a list"
        case bool():
            return "a boolean"
        case Timestamp():
            return "a timestamp"
        case str():
            return "a string"
        case int():
            return "an integer"
        case _:
            return "a number"


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
            raise NotThisType("a string", value)


def integer(value: Any) -> int:
    """An integer, or a float cut towards zero; no string, even of digits. Raises `NotThisType`."""
    match value:
        case bool():
            raise NotThisType("an integer", value)
        case int() if -(2**63) <= value < 2**63:
            return value
        case float() if math.isfinite(value) and -(2**63) <= value < 2**63:
            return int(value)
        case _:
            raise NotThisType("an integer", value)


def number(value: Any) -> float:
    """A finite integer or float, kept as it is. Raises `NotThisType`."""
    match value:
        case bool():
            raise NotThisType("a number", value)
        case int():
            return value
        case float() if math.isfinite(value):
            return value
        case _:
            raise NotThisType("a number", value)


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
            raise NotThisType("true or false", value)


def free_form(value: Any) -> Any:
    """*value* as it is where anything may stand: see `_scalars.untyped`."""
    match value:
        case dict():
            return {key: free_form(item) for key, item in value.items()}
        case list():
            return [free_form(item) for item in value]
        case _:
            return untyped(value)
