"""``${env.NAME}``: replaced in a file's text before YAML sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from ._source import Edits, Source

REFERENCE = re.compile(r"\$\{env\.([a-zA-Z_][a-zA-Z0-9_]*)\}")


@attrs.frozen
class Environment:
    """A source after substitution, and why what is still in its text could not be replaced."""

    source: Source
    text: str
    unset: frozenset[str]
    """Variables that do not exist. An error wherever a comment does not hide the reference."""
    unusable: Mapping[str, str]
    """Variables that exist, and why their references stay: an error anywhere."""


def _substitute(text: str, environ: Mapping[str, str]) -> tuple[str, Edits]:
    """Replace every reference to a usable variable, in comments too.

    Backslashes and double quotes of a value are escaped as a double-quoted YAML string needs them, whatever
    stands around the reference.
    """
    pieces: list[str] = []
    spans: list[tuple[int, int, int, int]] = []
    done = length = 0
    for match in REFERENCE.finditer(text):
        value = environ.get(match[1])
        if value is None or _unusable(value):
            continue
        value = value.replace("\\", "\\\\").replace('"', '\\"')
        pieces += (text[done : match.start()], value)
        length += match.start() - done + len(value)
        spans.append((match.start(), match.end(), length - len(value), length))
        done = match.end()
    pieces.append(text[done:])
    return "".join(pieces), Edits(tuple(spans))


def _unusable(value: str) -> bool:
    return any(c in value for c in "\n\r\0")


def apply_environment(source: Source, environ: Mapping[str, str]) -> Environment:
    """Substitute twice: a variable's value may name further variables, one level deep."""
    if "${env." not in source.text:
        return Environment(source, source.text, frozenset(), {})
    once, first = _substitute(source.text, environ)
    text, second = _substitute(once, environ)
    left = {match[1] for match in REFERENCE.finditer(text)}
    return Environment(
        attrs.evolve(source, edits=(first, second)),
        text,
        frozenset(name for name in left if name not in environ),
        {
            name: "holds a line break or NUL"
            if _unusable(environ[name])
            else "is nested more than one level deep"
            for name in left
            if name in environ
        },
    )
