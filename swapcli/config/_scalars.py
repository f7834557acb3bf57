"""What a plain YAML scalar means, and how its value reads as text: as in Go's yaml.v3, which llama-swap uses.

That is neither YAML 1.1 nor 1.2: ``yes`` is a string, ``017`` is fifteen, ``08`` is a float, ``2024-1-2`` a
timestamp.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import decimal
import math
import re

Value = None | bool | int | float | str
"""A scalar's value. A timestamp is a `Timestamp`, which is a string."""

_CORE = "tag:yaml.org,2002:"
_WORDS: dict[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_WORD_STARTS = frozenset("ntfNTF~")
_NUMBER_STARTS = frozenset("0123456789+-.")
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_BASED = re.compile(r"([-+]?)0(?:[xX]([0-9a-fA-F]+)|[bB]([01]+)|[oO]?([0-7]+))")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:([Tt ])([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:\.([0-9]{1,9}))?(Z|[-+][0-9]{2}:[0-9]{2})?)?"
)
_LONGEST_INT64 = 20  # characters of -9223372036854775808 and of 18446744073709551615


class Timestamp(str):
    """A date, or a date and time, as RFC 3339 text."""

    __slots__ = ()


class UnfitTag(ValueError):
    """A tag says what the scalar is not."""


def resolve(text: str, *, plain: bool, tag: str | None) -> Value:
    """The value of a scalar.

    Args:
      plain: written without quotes and not as a block.
      tag: the whole tag, when one is written.
    Raises:
      UnfitTag: the scalar is not what its tag says.
    """
    if tag is not None and tag != "!":
        return _tagged(text, tag)
    if not plain:
        return text
    first = text[:1]
    if first in _NUMBER_STARTS:
        if not first:
            return None
        if text in _WORDS:
            return _WORDS[text]
        return _timestamp_or_number(text)
    if not first or first in _WORD_STARTS:
        return _WORDS.get(text, text)
    return text


def _timestamp_or_number(text: str) -> Value:
    if text[0] == ".":
        return _float(text, text)  # no underscores here
    stamp = _timestamp(text)
    if stamp is not None:
        return stamp
    digits = text.replace("_", "")
    number = _int(digits)
    return _float(digits, text) if number is None else number


def _int(digits: str) -> int | None:
    if _DECIMAL.fullmatch(digits):
        # Python refuses to read thousands of digits; so many are no integer of 64 bits anyway.
        value = int(digits) if len(digits) <= _LONGEST_INT64 else None
    elif match := _BASED.fullmatch(digits):
        sign, hexadecimal, binary, octal = match.groups()
        value = int(hexadecimal, 16) if hexadecimal else int(binary, 2) if binary else int(octal, 8)
        value = -value if sign == "-" else value
    else:
        return None
    if value is None or not -(2**63) <= value < (2**63 if digits[0] == "+" else 2**64):
        return None
    return value


def _float(digits: str, otherwise: str) -> Value:
    if _FLOAT.fullmatch(digits):
        value = float(digits)
        if not math.isinf(value):
            return value
    return otherwise


def _timestamp(text: str) -> Timestamp | None:
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return None
    year, month, day, separator, hour, minute, second, fraction, zone = match.groups()
    if separator is not None and (separator == " ") != (zone is None):
        return None
    try:
        at = datetime.datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0)
        )
    except ValueError:
        return None
    fraction = (fraction or "").rstrip("0")
    zone = "Z" if zone in (None, "+00:00", "-00:00") else zone
    return Timestamp(f"{at.year:04}-{at:%m-%dT%H:%M:%S}{'.' if fraction else ''}{fraction}{zone}")


def _tagged(text: str, tag: str) -> Value:
    name = tag.removeprefix(_CORE)
    if name == "str":
        return text
    if name == "binary":
        try:
            return base64.b64decode("".join(text.split()), validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            raise UnfitTag(f"{text!r} is not base64") from None
    value = resolve(text, plain=True, tag=None)
    match name, value:
        case ("int", bool()) | ("float", bool()):
            pass
        case ("null", None) | ("bool", bool()) | ("int", int()) | ("timestamp", Timestamp()):
            return value
        case "float", float() | int():
            return float(value)
        case _:
            pass
    raise UnfitTag(f"{text!r} is no {tag.replace(_CORE, '!!')}")


def scalar_text(value: bool | float | str) -> str:
    """The text that a string field stores for *value*: what Go writes for it."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return float_text(value)
        case _:
            return str(value)


def float_text(value: float) -> str:
    """The shortest digits that read back as *value*; with an exponent below 1e-4 and from 1e6 on."""
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    # repr() finds the shortest digits; Decimal takes them apart without reading them as a number again.
    sign, digits, point = decimal.Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(point, int)
    figures, exponent = "".join(map(str, digits)), point + len(digits) - 1
    minus = "-" if sign else ""
    if exponent < -4 or exponent >= 6:
        return f"{minus}{figures[0]}{'.' if figures[1:] else ''}{figures[1:]}e{exponent:+03}"
    if exponent < 0:
        return f"{minus}0.{'0' * (-exponent - 1)}{figures}"
    whole, rest = figures[: exponent + 1].ljust(exponent + 1, "0"), figures[exponent + 1 :]
    return f"{minus}{whole}{'.' if rest else ''}{rest}"


def untyped(value: Value) -> Value:
    """*value* as it is in a free-form map: a whole float below a million is an integer, a timestamp a string.

    llama-swap writes its values out and reads them again before it uses them; this is what comes back.
    """
    match value:
        case Timestamp():
            return str(value)
        case float() if value.is_integer() and abs(value) < 1_000_000:
            return int(value)
        case _:
            return value
