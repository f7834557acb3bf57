"""Which model a request asks for, and whether it wants a stream. Reads, never changes."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

import attrs
import msgspec

from .json_members import first_member, string_of
from .multipart_fields import field_values

_FORM_LIMIT = 10 * 1024 * 1024
_TRUE_WORDS = frozenset({"1", "t", "T", "true", "TRUE", "True"})


@attrs.frozen
class Asked:
    """What a request asks for."""

    model: str
    """As the client wrote it; empty when no model is named."""
    stream: bool


def identify(method: str, query: bytes, content_type: str, body: bytes) -> Asked:
    """Find the model's name where the kind of request keeps it. Pure; takes long for a large body only.

    ``GET``: in the query. Else by ``Content-Type``: in a JSON object; in a multipart form, where the query
    goes first; in a form, which goes before the query.
    """
    if method == "GET":
        return _asked(parse_form(query))
    if "application/json" in content_type:
        return _in_json(body)
    if "multipart/form-data" in content_type:
        fields = field_values(content_type, body)
        return _asked([*parse_form(query), *fields]) if fields is not None else Asked("", False)
    if content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        if len(body) > _FORM_LIMIT:
            return Asked("", False)
        return _asked([*parse_form(body), *parse_form(query)])
    return _asked(parse_form(query))


def parse_form(encoded: bytes) -> list[tuple[str, str]]:
    """Return the pairs of a query or form in order, without those with a bare ``;`` or a broken escape."""
    pairs: list[tuple[str, str]] = []
    for item in encoded.split(b"&"):
        if not item or b";" in item:
            continue
        name, _, value = item.partition(b"=")
        decoded = [_decode_part(part) for part in (name, value)]
        if decoded[0] is not None and decoded[1] is not None:
            pairs.append((decoded[0], decoded[1]))
    return pairs


def _decode_part(part: bytes) -> str | None:
    plain = unquote_to_bytes(part.replace(b"+", b" "))
    escapes = part.count(b"%")
    if len(part) - len(plain) != 2 * escapes:
        return None
    return plain.decode("utf-8", "replace")


def _asked(pairs: list[tuple[str, str]]) -> Asked:
    first: dict[str, str] = {}
    for name, value in pairs:
        first.setdefault(name, value)
    return Asked(first.get("model", ""), first.get("stream") == "true")


class _Head(msgspec.Struct):
    model: Any = None
    stream: Any = None


_HEAD = msgspec.json.Decoder(_Head)


def _in_json(body: bytes) -> Asked:
    """The ordinary document goes through a C decoder; one that is odd in any way through our own scanner."""
    if _each_key_once(body):
        try:
            head = _HEAD.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            if isinstance(head.model, str) and isinstance(head.stream, bool | None):
                return Asked(head.model, head.stream is True)
    return Asked(_json_text(body, "model"), _json_text(body, "stream", flag=True) == "true")


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
