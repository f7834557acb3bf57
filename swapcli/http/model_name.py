"""Which model a request asks for, and whether it wants a stream. Reads, never changes."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import Any

import attrs
import msgspec

from .form_pairs import pairs_of
from .json_members import first_member, string_of
from .multipart_fields import fields

_FORM_LIMIT = 10 * 1024 * 1024
AT_ONCE = 32 * 1024
"""Bytes that any of our own scanners is done with in a tenth of a second, whatever they are."""
_DECODED_AT_ONCE = 1024 * 1024
"""The same, of what is left to C."""
_TRUE_WORDS = frozenset({"1", "t", "T", "true", "TRUE", "True"})


@attrs.frozen
class Asked:
    """What a request asks for."""

    model: str
    """As the client wrote it; empty when no model is named."""
    stream: bool


class Carrier(Enum):
    """The part of a request that carries the model's name."""

    QUERY = auto()
    JSON = auto()
    MULTIPART = auto()
    """A multipart form, where the query goes first."""
    FORM = auto()
    """A form, which goes before the query."""


def carrier_of(method: str, content_type: str) -> Carrier:
    """Tell by method and ``Content-Type`` where the name of a request's model is. Pure."""
    if method == "GET":
        return Carrier.QUERY
    if "application/json" in content_type:
        return Carrier.JSON
    if "multipart/form-data" in content_type:
        return Carrier.MULTIPART
    if content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        return Carrier.FORM
    return Carrier.QUERY


def looks_like_json(body: bytes) -> bool:
    """Tell by its first character whether a body is likely to be a JSON object. Pure."""
    return body[:100].lstrip().startswith(b"{")


def identify(method: str, query: bytes, content_type: str, body: bytes) -> Asked:
    """Find the model's name where the kind of request keeps it. Pure; takes long for a large body only."""
    match carrier_of(method, content_type):
        case Carrier.QUERY:
            return _asked(pairs_of(query))
        case Carrier.JSON:
            return _in_json(body)
        case Carrier.MULTIPART:
            found = fields(content_type, body)
            if found is None:
                return Asked("", False)
            values = ((field.name.encode(), body[field.start : field.end]) for field in found)
            return _asked([*pairs_of(query), *values])
        case Carrier.FORM:
            if len(body) > _FORM_LIMIT:
                return Asked("", False)
            return _asked([*pairs_of(body), *pairs_of(query)])


def identify_at_once(method: str, query: bytes, content_type: str, body: bytes) -> Asked | None:
    """Do what `identify` does, if an event loop may wait for that; ``None``: only a thread may."""
    if len(query) + len(body) <= AT_ONCE:
        return identify(method, query, content_type, body)
    if len(query) > AT_ONCE or len(body) > _DECODED_AT_ONCE:
        return None
    match carrier_of(method, content_type):
        case Carrier.JSON:
            return _decoded(body)
        case Carrier.FORM:
            return None
        case _:
            return identify(method, query, content_type, body)


def _asked(pairs: Iterable[tuple[bytes, bytes]]) -> Asked:
    first: dict[bytes, bytes] = {}
    for name, value in pairs:
        first.setdefault(name, value)
    return Asked(first.get(b"model", b"").decode("utf-8", "replace"), first.get(b"stream") == b"true")


class _Head(msgspec.Struct):
    model: Any = None
    stream: Any = None


_HEAD = msgspec.json.Decoder(_Head)


def _in_json(body: bytes) -> Asked:
    """The ordinary document goes through a C decoder; one that is odd in any way through our own scanner."""
    if (found := _decoded(body)) is not None:
        return found
    return Asked(_json_text(body, "model"), _json_text(body, "stream", flag=True) == "true")


def _decoded(body: bytes) -> Asked | None:
    if _each_key_once(body):
        try:
            head = _HEAD.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if isinstance(head.model, str) and isinstance(head.stream, bool | None):
            return Asked(head.model, head.stream is True)
    return None


def _each_key_once(body: bytes) -> bool:
    # The decoder lets the last of two equal keys win, we want the first. `\u006` begins every spelling of
    # these keys' letters that is not the letter itself.
    return body.count(b'"model"') == 1 and body.count(b'"stream"') <= 1 and b"\\u006" not in body


def _json_text(body: bytes, key: str, *, flag: bool = False) -> str:
    member = first_member(body, key)
    if member is None:
        return ""
    raw = body[member.start : member.end]
    if raw.startswith(b'"'):
        text = string_of(raw) or ""
        return ("true" if text in _TRUE_WORDS else "false") if flag else text
    text = raw.decode("utf-8", "replace")
    if text == "null":
        return ""
    if flag and text not in ("true", "false"):
        return "true" if _is_nonzero_number(text) else "false"
    return text


def _is_nonzero_number(text: str) -> bool:
    try:
        return float(text) != 0
    except ValueError:
        return False
