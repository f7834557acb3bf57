"""The plain fields of a multipart form, as places in its body. Pure.

Own code, because it answers where a field is: a value can then be replaced without taking the form apart, and
without copying the files in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs
from werkzeug.http import parse_options_header

_MAX_PARTS = 1000
_MAX_HEAD = 64 * 1024
_DISPOSITION = re.compile(
    rb"^content-disposition[ \t]*:[ \t]*(.*(?:\n[ \t].*)*)", re.IGNORECASE | re.MULTILINE
)


@attrs.frozen
class FieldPlace:
    """A part that is no file."""

    name: str
    start: int
    """First byte of the value."""
    end: int
    """One past its last byte."""


def fields(content_type: str, body: bytes) -> list[FieldPlace] | None:
    """Return every part that is no file, in order; None when the form cannot be read."""
    boundary = boundary_of(content_type)
    if not boundary:
        return None
    found: list[FieldPlace] = []
    count = 0
    for head, start, end in _parts(body, b"--" + boundary):
        count += 1
        if end is None or count > _MAX_PARTS:
            return None
        name = _field_name(head)
        if name is not None:
            found.append(FieldPlace(name, start, end))
    return found if count else None


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a ``Content-Type`` declares; empty when it declares none."""
    return parse_options_header(content_type)[1].get("boundary", "").encode("latin-1", "replace")


def _parts(body: bytes, dash_boundary: bytes) -> Iterator[tuple[bytes, int, int | None]]:
    """Yield head, and first and last place of every part; no last place where the form breaks off."""
    first = re.compile(rb"(?:\A|\n)" + re.escape(dash_boundary) + rb"[ \t]*(\r?\n)").search(body)
    if first is None:
        return
    newline, position = first[1], first.end()
    # What follows the boundary that ends a part: the next part, or the end of the form.
    rest_of_line = re.compile(rb"(--)|[ \t]*" + newline)
    while True:
        if body.startswith(newline, position):
            head_end = position - len(newline)  # no header at all, only the empty line
        else:
            head_end = body.find(2 * newline, position, position + _MAX_HEAD)
        if head_end < 0:
            yield b"", position, None
            return
        start = head_end + 2 * len(newline)
        # The line break before the boundary may be the very one that ended the head.
        search_from = start - len(newline)
        while (end := body.find(newline + dash_boundary, search_from)) >= 0:
            search_from = end + len(newline) + len(dash_boundary)
            if (rest := rest_of_line.match(body, search_from)) is not None:
                break
        else:
            yield b"", start, None
            return
        yield body[position : max(position, head_end)], start, max(start, end)
        if rest[1]:
            return
        position = rest.end()


def _field_name(head: bytes) -> str | None:
    """The name of a part that is a plain field."""
    disposition = _DISPOSITION.search(head)
    if disposition is None:
        return None
    kind, options = parse_options_header(disposition[1].decode("utf-8", "replace"))
    if kind.lower() != "form-data" or options.get("filename"):
        return None
    return options.get("name")
