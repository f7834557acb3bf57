"""Keeps secrets out of what is said about a configuration: its messages and excerpts are logged. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args, get_origin

import attrs

from ._problem import Path, Problem
from ._top_level import Configuration
from ._yaml_keys import attributes_of, is_secret

MASK = "***"
_PASSWORD = re.compile(r"(//[^/?#@:\s]*:)([^/?#@\s]+)(?=@)")
# What stands before a value on its line stays, and so does a reference, which gives nothing away.
_READABLE = re.compile(r"^\s*(?:-\s|[^:]*:)|\$\{[^}]*\}|\s+")


def passwords_of(url: str) -> list[str]:
    """The passwords in a URL, or in a text with several URLs."""
    return [match[2] for match in _PASSWORD.finditer(url)]


def without_password(url: str) -> str:
    """``http://me:***@host`` for a URL with a password; any other as it is."""
    return _PASSWORD.sub(rf"\g<1>{MASK}", url)


def is_confidential(path: Path) -> bool:
    """What *path* leads to is a secret, or is in a list of secrets."""
    cls: Any = Configuration
    rest = list(path)
    while rest and attrs.has(cls):
        attribute = attributes_of(cls).get(str(rest.pop(0)))
        if attribute is None:
            return False
        if is_secret(attribute):
            return True
        cls = attribute.type
        if get_origin(cls) is Mapping:
            cls = get_args(cls)[1]
            rest = rest[1:]
    return False


def veiled(problem: Problem) -> Problem:
    """*problem* with stars in its excerpt where that would show a secret, as many as it has characters."""
    line = problem.source_line
    if is_confidential(problem.keys):
        return attrs.evolve(problem, source_line=_starred(line))
    return attrs.evolve(problem, source_line=_PASSWORD.sub(lambda m: m[1] + "*" * len(m[2]), line))


def _starred(line: str) -> str:
    shown, end = "", 0
    for match in _READABLE.finditer(line):
        shown += "*" * (match.start() - end) + match[0]
        end = match.end()
    return shown + "*" * (len(line) - end)
