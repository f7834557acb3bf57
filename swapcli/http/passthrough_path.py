"""The paths ``/upstream/<model>/<path>``: where the model's name ends, and what is left. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote, unquote

import attrs

_SEPARATOR = re.compile(r"/|%2[fF]")
_IN_PATH = "/%:@!$&'()*+,;=~-._"
_T = TypeVar("_T")


@attrs.frozen
class Split:
    """A path behind ``/upstream/``."""

    name: str
    """As far as it names a model, decoded."""
    left: str
    """The rest, as the client wrote it; begins with a slash, or is empty."""


def split_path(raw: str, find: Callable[[str], _T | None]) -> tuple[Split, _T] | None:
    """Split ``raw`` behind the longest name that ``find`` knows; a slash in it may be encoded, or doubled.

    Returns None when it knows none.
    """
    parts: list[str] = []
    best: tuple[Split, _T] | None = None
    start = 0
    for end, after in [*((m.start(), m.end()) for m in _SEPARATOR.finditer(raw)), (len(raw), len(raw))]:
        if end > start:
            parts.append(unquote(raw[start:end]))
            if (found := find("/".join(parts))) is not None:
                left = "/" + raw[after:] if end < len(raw) else ""
                best = Split("/".join(parts), left), found
        start = after
    return best


def with_slash(prefix: str, name: str, query: bytes) -> str:
    """Return the location of ``name`` below ``prefix`` as a folder, query included."""
    location = prefix + quote(name, safe=_IN_PATH.replace("%", "")) + "/"
    return location + ("?" + query.decode("latin-1") if query else "")
