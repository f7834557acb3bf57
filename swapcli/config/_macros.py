"""``${NAME}``: macros, declared in the file, and the three that every model has. Pure.

The order of expansion is part of the format: a list of macros is gone through from its last to its first, so
a macro's value may refer to what was declared before it, and to nothing after.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from ._problem import Finding, Path
from ._scalars import Timestamp, scalar_text

REFERENCE = re.compile(r"\$\{([a-zA-Z0-9_-]+)\}")
LEFTOVER = re.compile(r"\$\{(env\.[a-zA-Z_][a-zA-Z0-9_]*|[a-zA-Z0-9_-]+)\}")
RESERVED = frozenset({"PID", "PORT", "MODEL_ID"})
MAX_EXPANDED = 32 * 1024 * 1024
"""Characters that may be made while expanding one configuration. Macros that double would fill the memory."""

_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_LONGEST_NAME = 63

MacroValue = str | int | float | bool


@attrs.frozen
class Macro:
    """A declared macro, its value unexpanded."""

    name: str
    value: MacroValue


class TooMuchText(Exception):
    """The macros make more text than `MAX_EXPANDED`."""


def declared(value: Any, path: Path, findings: list[Finding]) -> tuple[Macro, ...]:
    """The macros of a ``macros`` map at *path*; those that may not be are reported and left out."""
    if value is None:
        return ()
    if not isinstance(value, dict):
        findings.append(Finding(path, "macros must be a map of names to values"))
        return ()
    macros = []
    for name, content in value.items():
        reason = _fault(name, content)
        if reason is None:
            macros.append(Macro(name, content))
        else:
            findings.append(Finding((*path, name), f"macro {name}: {reason}"))
    return tuple(macros)


def _fault(name: str, value: Any) -> str | None:
    if len(name.encode()) > _LONGEST_NAME:
        return f"the name is longer than {_LONGEST_NAME} bytes"
    if not _NAME.fullmatch(name):
        return "a name has only letters, digits, _ and -"
    if isinstance(value, Timestamp) or not isinstance(value, str | int | float | bool):
        return "the value must be a string, a number or a boolean"
    if isinstance(value, str) and f"${{{name}}}" in value:
        return "the value contains a self-reference"
    if name in RESERVED:
        return "the name is reserved"
    return None


@attrs.define(eq=False)
class Budget:
    """How much more text macros may make in this configuration."""

    left: int = MAX_EXPANDED

    def spend(self, characters: int) -> None:
        """Raises `TooMuchText` once nothing is left."""
        self.left -= characters
        if self.left < 0:
            raise TooMuchText


@attrs.frozen(eq=False)
class Scope:
    """The macros that hold in one place, in the order in which later ones may use earlier ones."""

    macros: Sequence[Macro]
    budget: Budget
    _order: dict[str, int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_order", {macro.name: at for at, macro in enumerate(self.macros)})

    def expand(self, text: str) -> Any:
        """*text* with every macro replaced. A text that is just one reference gets the macro's own type."""
        value: Any = text
        below = len(self.macros)
        # Each round replaces the last macro that the text still refers to, which may bring in earlier ones:
        # the same as one pass for every macro, without looking for those that are not there.
        while isinstance(value, str) and "${" in value:
            present = [
                at for name in REFERENCE.findall(value) if (at := self._order.get(name, below)) < below
            ]
            if not present:
                break
            below = max(present)
            macro = self.macros[below]
            reference = f"${{{macro.name}}}"
            if value == reference:
                value = macro.value
            else:
                replacement = scalar_text(macro.value)
                self.budget.spend(len(value) + value.count(reference) * (len(replacement) - len(reference)))
                value = value.replace(reference, replacement)
        return value

    def expand_all(self, value: Any) -> Any:
        """*value* with every string in it expanded; keys stay. Lists and maps are changed in place."""
        match value:
            case str():
                return self.expand(value) if "${" in value else value
            case dict():
                for key, item in value.items():
                    if isinstance(item, str):
                        if "${" in item:
                            value[key] = self.expand(item)
                    elif isinstance(item, dict | list):
                        self.expand_all(item)
            case list():
                for at, item in enumerate(value):
                    if isinstance(item, str):
                        if "${" in item:
                            value[at] = self.expand(item)
                    elif isinstance(item, dict | list):
                        self.expand_all(item)
            case _:
                pass
        return value


def with_overrides(first: Macro, shared: Iterable[Macro], own: Iterable[Macro]) -> list[Macro]:
    """The macros of a model: *first*, the shared ones with its own in their places, the rest of its own."""
    mine = {macro.name: macro for macro in own}
    places = [first, *(mine.pop(macro.name, macro) for macro in shared)]
    return [*places, *mine.values()]


def leftovers(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Every reference that is still in the strings of *value*, with the path of its string."""
    match value:
        case str():
            if "${" in value:
                for name in dict.fromkeys(LEFTOVER.findall(value)):
                    yield path, name
        case dict():
            for key, item in value.items():
                if isinstance(item, str | dict | list):
                    yield from leftovers(item, (*path, key))
        case list():
            for at, item in enumerate(value):
                if isinstance(item, str | dict | list):
                    yield from leftovers(item, (*path, at))
        case _:
            pass


def unresolved(path: Path, name: str, model: str | None = None) -> Finding:
    """The `Finding` for a reference that nothing resolves."""
    if name.startswith("env."):
        return Finding(
            path, f"${{{name}}} is not replaced: it must stand in the file itself, not come from a macro"
        )
    if model is not None and name == "PORT":
        return Finding(
            path, "${PORT} should have been substituted, but cmd does not use it, so there is no port"
        )
    if name == "PID":
        return Finding(path, "unknown macro ${PID}: it exists in cmdStop only")
    return Finding(path, f"unknown macro ${{{name}}}")


def strip_comments(text: str) -> str:
    """A command without its comment lines, so that nothing in them is expanded."""
    if "#" not in text:
        return text
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))


def has_reference(value: Any, name: str) -> bool:
    """*value* is a text that refers to the macro *name*."""
    return isinstance(value, str) and f"${{{name}}}" in value
