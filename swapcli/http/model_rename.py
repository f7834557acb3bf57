"""Gives a request another model's name, wherever it keeps the name. Pure; nothing else in it changes."""

from __future__ import annotations

from .body_filter import Pieces
from .form_pairs import pairs_of, with_value
from .model_name import Carrier
from .multipart_fields import boundary_of, fields

_MODEL = b"model"


class RenameFailed(Exception):
    """The name cannot be written where it has to be."""


def renamed(
    carrier: Carrier, model: str, *, query: bytes, content_type: str, body: bytes
) -> tuple[bytes, Pieces]:
    """Return query and body of a request that asks for ``model``; not for JSON, see `body_filter`.

    A query or a form is put together anew, sorted by name. In a multipart form the values are replaced, and
    the rest, files included, is referred to where it is.

    Raises:
      RenameFailed: see there.
    """
    if any(name == _MODEL for name, _ in pairs_of(query)):
        query = with_value(query, _MODEL, model)
    match carrier:
        case Carrier.FORM if any(name == _MODEL for name, _ in pairs_of(body)):
            return query, (with_value(body, _MODEL, model),)
        case Carrier.MULTIPART:
            return query, _in_multipart(model.encode("utf-8", "surrogatepass"), content_type, body)
        case _:
            return query, (body,)


def _in_multipart(model: bytes, content_type: str, body: bytes) -> Pieces:
    if b"--" + boundary_of(content_type) in model:
        raise RenameFailed("could not rewrite model in multipart form: the name contains the boundary")
    pieces: list[bytes | memoryview] = []
    view, done = memoryview(body), 0
    for field in fields(content_type, body) or ():
        if field.name == "model":
            pieces += (view[done : field.start], model)
            done = field.end
    return (*pieces, view[done:])
