"""JSON as this server writes it: compact, and with the characters that matter in HTML escaped."""

from __future__ import annotations

from typing import Any

import msgspec

_ESCAPES = tuple(
    (character.encode(), f"\\u{ord(character):04x}".encode())
    for character in ("<", ">", "&", "\u2028", "\u2029")
)


def to_json(value: Any) -> bytes:
    """Return ``value`` as one compact line; keys keep their order.

    These characters occur inside strings only, so replacing them in the finished text is safe.
    """
    text = msgspec.json.encode(value)
    for character, escape in _ESCAPES:
        if character in text:
            text = text.replace(character, escape)
    return text


def to_json_line(value: Any) -> bytes:
    """Return ``value`` as `to_json` does, with a newline at the end."""
    return to_json(value) + b"\n"
