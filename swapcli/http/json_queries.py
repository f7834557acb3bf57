"""Paths that look for what is in a JSON text: every value found is replaced, and nothing is created. Pure.

A subset of GJSON's path syntax (https://github.com/tidwall/gjson/blob/master/SYNTAX.md), the part that finds
places in the document itself: ``*`` and ``?`` in a key, ``#`` for all elements of an array, ``#(key==value)``
for the first that is so, ``#(…)#`` for all of them. Modifiers (``@``) make new values, so nothing is found.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import attrs

from .json_container import Container, Entry

_PART = re.compile(r"#\((?:[^()\"]|\"(?:[^\"\\]|\\.)*\")*\)#?|(?:\\.|[^.|\\])+")
_CONDITION = re.compile(r"\s*(.*?)\s*(==|!=|<=|>=|!%|=|<|>|%)\s*(.*?)\s*", re.DOTALL)
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "%": lambda value, pattern: fnmatchcase(value, _as_glob(pattern)),
    "!%": lambda value, pattern: not fnmatchcase(value, _as_glob(pattern)),
}


def replace_found(container: Container, query: str, value: bytes) -> None:
    """Replace whatever ``query`` finds by ``value``, which is JSON."""
    parts = _parts(query)
    if parts:
        _replace(container, parts, value)


def _parts(query: str) -> list[str]:
    """The query's parts; none when it is more than this module knows."""
    parts: list[str] = []
    at = 0
    while (match := _PART.match(query, at)) is not None:
        part, at = match.group(), match.end()
        if part.startswith("@"):
            return []
        parts.append(part)
        if at == len(query):
            return parts
        if query[at] == "|" and (part == "#" or part.endswith(")#")):
            return []  # goes on with the list of what was found, which is not in the document
        at += 1
    return []


def _replace(container: Container, parts: Sequence[str], value: bytes) -> None:
    part, *rest = parts
    if part == "#" and not rest:
        return  # their number, which is not in the document
    for entry in _found(container, part):
        if not rest:
            entry.value = value
        elif (inner := entry.inside()) is not None:
            _replace(inner, rest, value)


def _found(container: Container, part: str) -> list[Entry]:
    entries = container.entries
    if part.startswith("#"):
        if container.is_object:
            return []
        if part == "#":
            return entries
        condition = _Condition.of(part[2:].rpartition(")")[0])
        hits = [entry for entry in entries if condition is not None and condition.holds(bytes(entry.text()))]
        return hits if part.endswith("#") else hits[:1]
    if container.is_object:
        pattern = _as_glob(part)
        return next(([entry] for entry in entries if fnmatchcase(entry.key, pattern)), [])
    return entries[int(part) :][:1] if part.isascii() and part.isdigit() else []


@attrs.frozen
class _Condition:
    """``key==value``, about one element of an array."""

    key: tuple[str, ...]
    compare: Callable[[Any, Any], bool]
    value: Any

    @classmethod
    def of(cls, text: str) -> _Condition | None:
        match = _CONDITION.fullmatch(text)
        if match is None:
            return None
        key, sign, literal = match.groups()
        try:
            value = json.loads(literal)
        except ValueError:
            value = literal
        return cls(tuple(key.split(".")) if key else (), _COMPARISONS[sign], value)

    def holds(self, element: bytes) -> bool:
        try:
            found = json.loads(element)
            for name in self.key:
                found = found[int(name) if isinstance(found, list) else name]
            return _kind(found) is _kind(self.value) and self.compare(found, self.value)
        except (ValueError, TypeError, LookupError):
            return False


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)


def _as_glob(part: str) -> str:
    """The pattern for `fnmatchcase`, which knows no ``\\`` and takes ``[`` for the beginning of a set."""

    def literal(match: re.Match[str]) -> str:
        character = match[1] or "["
        return f"[{character}]" if character in "*?[" else character

    return re.sub(r"\\(.)|\[", literal, part)
