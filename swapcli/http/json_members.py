"""Finds members of a JSON object by their bytes, in documents that need not be valid.

Clients send, and llama-swap accepts, objects with a missing brace, with junk behind them, and with a key
twice. A JSON library refuses the first two and takes the wrong value of the third. The spans also allow a
value to be replaced without touching any other byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TypeAlias

import attrs

Text: TypeAlias = bytes | memoryview
"""A stretch of JSON; what a client sent is referred to and not copied."""

_SPACE = re.compile(rb"[ \t\r\n]*")
# The first half is three times as fast, for an image, say: to a quotation mark with no backslash before it.
_STRING_PATTERN = rb'"(?:[^"]*+(?<!\\)"|[^"\\]*(?:\\.[^"\\]*)*")'
_STRING = re.compile(_STRING_PATTERN, re.DOTALL)
_SCALAR = re.compile(rb"[^\s,:\[\]{}\"]+")
_BRACKETS = re.compile(_STRING_PATTERN + rb"|[\[\]{}]", re.DOTALL)


@attrs.frozen
class Member:
    """A key and its value, as positions in the document."""

    key: str
    """Empty in an array."""
    begin: int
    """First byte of the key, its quotation mark; in an array, of the value."""
    start: int
    """First byte of the value."""
    end: int
    """One past its last byte."""


def members(document: Text) -> Iterator[Member]:
    """Yield the members of the object that the document is, in order, until it ends or makes no sense.

    A document that is something else has none. The caller may stop early; nothing behind is looked at.
    """
    position = _skip_space(document, 3 if document[:3] == b"\xef\xbb\xbf" else 0)
    if document[position : position + 1] != b"{":
        return
    position = _skip_space(document, position + 1)
    while key := _STRING.match(document, position):
        position = _skip_space(document, key.end())
        if document[position : position + 1] != b":":
            return
        start = _skip_space(document, position + 1)
        end = _end_of_value(document, start)
        if end is None:
            return
        name = string_of(key.group())
        if name is not None:
            yield Member(name, key.start(), start, end)
        position = _skip_space(document, end)
        if document[position : position + 1] != b",":
            return
        position = _skip_space(document, position + 1)


def elements(document: Text) -> Iterator[Member]:
    """Yield the elements of the array that the document is, in order, until it ends or makes no sense."""
    position = _skip_space(document, 0)
    if document[position : position + 1] != b"[":
        return
    position = _skip_space(document, position + 1)
    while (end := _end_of_value(document, position)) is not None:
        yield Member("", position, position, end)
        position = _skip_space(document, end)
        if document[position : position + 1] != b",":
            return
        position = _skip_space(document, position + 1)


def first_member(document: bytes, key: str) -> Member | None:
    """Return the first member with this key, or None."""
    return next((member for member in members(document) if member.key == key), None)


def string_of(quoted: bytes) -> str | None:
    """Return what a quoted JSON string means; None when its escapes make no sense."""
    try:
        text = json.loads(quoted.decode("utf-8", "replace"), strict=False)
    except ValueError:
        return None
    assert isinstance(text, str)
    # Half of a surrogate pair can be written as an escape, but is no character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _skip_space(document: Text, position: int) -> int:
    space = _SPACE.match(document, position)
    assert space is not None
    return space.end()


def _end_of_value(document: Text, start: int) -> int | None:
    opening = document[start : start + 1]
    if opening == b'"':
        string = _STRING.match(document, start)
        return string.end() if string else None
    if opening not in (b"{", b"["):
        scalar = _SCALAR.match(document, start)
        return scalar.end() if scalar else None
    depth = 0
    for token in _BRACKETS.finditer(document, start):
        match document[token.start()]:  # not the token: a string may be an image
            case 0x7B | 0x5B:
                depth += 1
            case 0x7D | 0x5D:
                depth -= 1
                if depth == 0:
                    return token.end()
            case _:
                pass  # a string
    return None
