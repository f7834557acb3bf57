"""Sets and removes what a path names in a JSON text, as llama-swap's filters understand paths. Pure.

``a.b.0`` goes into objects and arrays; ``\\`` takes the next character as it is; ``:`` before digits makes a
key of them; ``-1`` is the place behind an array's end. What has to be created on the way is created. Paths
with ``|``, ``#``, ``@``, ``*`` or ``?`` look for what is there; see `json_queries`. No byte outside of the
named place changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from .json_container import Container, Entry
from .json_values import string

_QUERY_CHARACTERS = frozenset("|#@*?")
_MOST_PADDING = 10_000


class PathFault(ValueError):
    """The path cannot be followed in this document, or in none."""


@attrs.frozen
class Step:
    """One part of a path."""

    name: str
    is_key: bool = False
    """The digits, or ``-1``, are a key."""

    @property
    def index(self) -> int | None:
        """Position in an array; None: it can be a key only, or is the place behind the end."""
        is_digits = self.name.isascii() and self.name.isdigit() and len(self.name) < 19
        return int(self.name) if is_digits and not self.is_key else None

    @property
    def is_behind_the_end(self) -> bool:
        return self.name == "-1" and not self.is_key

    @property
    def makes_array(self) -> bool:
        """Where nothing is there yet, this goes into an array rather than an object."""
        return self.index is not None or self.is_behind_the_end


@attrs.frozen
class Query:
    """A path that looks for what is there."""

    text: str


Path: TypeAlias = tuple[Step, ...]


def parse_path(text: str) -> Path | Query:
    """Split a path into its steps."""
    steps: list[Step] = []
    name, is_key, at = "", False, 0
    while at < len(text):
        character = text[at]
        if character == "\\":
            at += 1
            name += text[at : at + 1]
        elif character in _QUERY_CHARACTERS:
            return Query(text)
        elif character == ".":
            steps.append(Step(name, is_key))
            name, is_key = "", False
        elif character == ":" and not name and not is_key and (at == 0 or text[at - 1] == "."):
            is_key = True
        else:
            name += character
        at += 1
    return (*steps, Step(name, is_key))


def set_in(container: Container, path: Path, value: bytes) -> None:
    """Make ``path`` mean ``value``, which is JSON: in place, or behind what is there.

    Raises:
      PathFault: a key where an array is, or an array that would have to be filled up enormously.
    """
    step, *rest = path
    if (entry := _find(container, step)) is not None:
        inner = entry.inside() if rest else None
        if inner is not None:
            set_in(inner, tuple(rest), value)
        else:
            entry.value = _built(rest, value)  # what is no container gives way to one
    elif container.is_object:
        container.append(string(step.name) + b":", _built(rest, value), step.name)
    elif step.is_behind_the_end:
        container.append(b"", _built(rest, value))
    elif (index := step.index) is not None:
        for _ in range(_padding(index - len(container.entries))):
            container.append(b"", b"null")
        container.append(b"", _built(rest, value))
    else:
        raise PathFault(f"there is an array, which has no {step.name!r}")


def remove_from(container: Container, path: Path) -> None:
    """Remove what ``path`` names, if it is there; where a key is there twice, both of them."""
    step, *rest = path
    if not container.is_object and step.is_behind_the_end:
        found = container.entries[-1:]
    elif container.is_object:
        found = [entry for entry in container.entries if entry.key == step.name]
    else:
        found = [entry] if (entry := _find(container, step)) is not None else []
    for entry in found:
        if not rest:
            container.remove(entry)
        elif (inner := entry.inside()) is not None:
            remove_from(inner, tuple(rest))


def _find(container: Container, step: Step) -> Entry | None:
    if container.is_object:
        return next((entry for entry in container.entries if entry.key == step.name), None)
    index = step.index
    return container.entries[index] if index is not None and index < len(container.entries) else None


def _built(path: Sequence[Step], value: bytes) -> bytes:
    if not path:
        return value
    step, *rest = path
    inner = _built(rest, value)
    if not step.makes_array:
        return b"{%b:%b}" % (string(step.name), inner)
    return b"[%b%b]" % (b"null," * _padding(step.index or 0), inner)


def _padding(count: int) -> int:
    if count > _MOST_PADDING:
        raise PathFault(f"an array would have to be filled up with {count} nulls")
    return count
