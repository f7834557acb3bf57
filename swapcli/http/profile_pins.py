"""What names mean while a profile is active. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote

_IN_PATH = "/:@!$&'()*+,;=~-._"
"""Slashes in a name may separate segments."""


def pinned_name(pins: Mapping[str, str], name: str) -> str:
    """Return the name that is meant; empty: it is not served. Pins do not lead to pins."""
    return pins.get(name, name)


def pinned_path(pins: Mapping[str, str], rest: str) -> str:
    """Return what is meant by the part of a path that begins with a model's name.

    The longest pin that is the path's beginning, whole segments only, is replaced; the rest stays as it is
    encoded.

    Args:
      rest: percent-encoded, without the slash before it.
    """
    ends = [at for at, character in enumerate(rest) if character == "/"] + [len(rest)]
    # An encoded slash does not end a segment of the path, but it may be in the middle of a name.
    ends += [at for at in range(len(rest)) if rest[at : at + 3].upper() == "%2F"]
    for end in sorted(ends, reverse=True):
        target = pins.get(unquote(rest[:end]))
        if target is not None:
            return quote(target, safe=_IN_PATH) + rest[end:] if target else ""
    return rest
