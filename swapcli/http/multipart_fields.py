"""The plain fields of a multipart form, with Werkzeug's parser (Quart brings it)."""

from __future__ import annotations

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

_MAX_PARTS = 1000
_MAX_FIELD_BYTES = 10 * 1024 * 1024


def field_values(content_type: str, body: bytes) -> list[tuple[str, str]] | None:
    """Return name and value of every part that is no file, in order; None when the form cannot be read."""
    boundary = parse_options_header(content_type)[1].get("boundary")
    if not boundary:
        return None
    decoder = MultipartDecoder(boundary.encode("latin-1", "replace"), max_parts=_MAX_PARTS)
    fields: list[tuple[str, str]] = []
    name: str | None = None
    value = bytearray()
    try:
        decoder.receive_data(body)
        decoder.receive_data(None)
        while True:
            match decoder.next_event():
                case Field() as field:
                    name = field.name
                case File():
                    name = None
                case Data(data=data, more_data=more):
                    if name is None:
                        continue
                    value += data
                    if len(value) > _MAX_FIELD_BYTES:
                        return None
                    if not more:
                        fields.append((name, value.decode("utf-8", "replace")))
                        value.clear()
                case Epilogue() | NeedData():
                    return fields
                case _:
                    pass
    except (ValueError, RequestEntityTooLarge):
        return None
