"""Values of a configuration as JSON, written as llama-swap writes what its filters set. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from math import isfinite
from typing import Any

from .json_text import to_json

_WRITTEN_AS_IT_IS = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7f]*")


class NoJson(ValueError):
    """The value cannot be written as JSON."""


def rendered(value: Any) -> bytes:
    """Return ``value`` as compact JSON: keys sorted, numbers in plain decimal.

    Raises:
      NoJson: a key that is no text, or a number that JSON does not have, or a type.
    """
    if isinstance(value, str):
        return string(value)
    return _nested(value)


def string(text: str) -> bytes:
    """Return ``text`` quoted, and escaped only if something in it must be, or is not ASCII."""
    if _WRITTEN_AS_IT_IS.fullmatch(text):
        return b'"%b"' % text.encode("ascii")
    return _escaped(text)


def _escaped(text: str) -> bytes:
    return to_json(text.encode("utf-8", "replace").decode())


def _nested(value: Any) -> bytes:
    match value:
        case None:
            return b"null"
        case bool():
            return b"true" if value else b"false"
        case int():
            return b"%d" % value
        case float():
            return _decimal(value)
        case str():
            return _escaped(value)
        case Mapping():
            return b"{%b}" % b",".join(_member(key, value[key]) for key in _sorted(value))
        case list() | tuple():
            return b"[%b]" % b",".join(map(_nested, value))
        case _:
            raise NoJson(f"JSON has no {type(value).__name__}")


def _member(key: str, value: Any) -> bytes:
    return b"%b:%b" % (_escaped(key), _nested(value))


def _sorted(value: Mapping[Any, Any]) -> list[str]:
    for key in value:
        if not isinstance(key, str):
            raise NoJson(f"the key {key!r} is no text")
    return sorted(value, key=lambda key: key.encode("utf-8", "surrogatepass"))


def _decimal(number: float) -> bytes:
    if not isfinite(number):
        raise NoJson(f"JSON has no {number}")
    text = format(Decimal(repr(number)), "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text).encode()
