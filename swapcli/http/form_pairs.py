"""``name=value&…``, as queries and forms are written. Pure; bytes, because nothing says which encoding."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote_plus, unquote_to_bytes


def pairs_of(encoded: bytes) -> list[tuple[bytes, bytes]]:
    """Return the pairs in order, without those with a bare ``;`` or a broken escape."""
    return [pair for item in encoded.split(b"&") if (pair := _pair(item)) is not None]


def has_unreadable(encoded: bytes) -> bool:
    """Whether `pairs_of` would leave something out."""
    return any(item and _pair(item) is None for item in encoded.split(b"&"))


def encoded(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the text of the pairs, sorted by name; those of one name keep their order."""
    return b"&".join(
        b"%b=%b" % (quote_plus(name).encode(), quote_plus(value).encode())
        for name, value in sorted(pairs, key=lambda pair: pair[0])
    )


def with_value(text: bytes, name: bytes, value: str) -> bytes:
    """Return the text with one ``name``, that is ``value``."""
    others = [pair for pair in pairs_of(text) if pair[0] != name]
    return encoded([*others, (name, value.encode("utf-8", "surrogatepass"))])


def _pair(item: bytes) -> tuple[bytes, bytes] | None:
    if not item or b";" in item:
        return None
    name, _, value = item.partition(b"=")
    decoded = _decode_part(name), _decode_part(value)
    return None if decoded[0] is None or decoded[1] is None else (decoded[0], decoded[1])


def _decode_part(part: bytes) -> bytes | None:
    plain = unquote_to_bytes(part.replace(b"+", b" "))
    return plain if len(part) - len(plain) == 2 * part.count(b"%") else None
