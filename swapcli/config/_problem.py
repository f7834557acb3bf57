"""Something to tell the user about a configuration file, and where in the file it is."""

from __future__ import annotations

import enum
import unicodedata
from collections.abc import Sequence

import attrs

Path = tuple[str | int, ...]
"""The keys and list indexes from the top of a configuration to one value."""


class Severity(enum.Enum):
    """What a problem stops."""

    ERROR = "error"
    """There is no configuration."""
    REFUSAL = "refusal"
    """The file loads, but no server can be built from it."""
    WARNING = "warning"
    """The server runs; something is probably not as meant."""


def path_text(path: Path) -> str:
    """``models.qwen.aliases[1]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def printable(text: str) -> str:
    """*text* on one line: control characters, which a terminal would obey, are written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


@attrs.frozen
class Finding:
    """A problem as the checks see it: a path, not yet a place in a file."""

    path: Path
    message: str
    severity: Severity = Severity.ERROR
    at_key: bool = False
    """The key is at fault, not its value."""


def warning(path: Path, message: str, *, at_key: bool = False) -> Finding:
    """A `Finding` that stops nothing."""
    return Finding(path, message, Severity.WARNING, at_key)


@attrs.frozen
class Problem:
    """One thing wrong with a configuration.

    ``str(problem)`` is one line: ``config.yaml:10:5: models.qwen.ttll: unknown key (did you mean ttl?)``
    """

    file: str
    line: int
    """Counted from 1; 0 when the problem is with the file as a whole."""
    column: int
    """Counted from 1, in characters; 0 when the problem is with the file as a whole."""
    path: str
    """Dotted keys of the value; empty when the problem has none."""
    message: str
    source_line: str = attrs.field(default="", repr=False, eq=False)
    """The line itself, as it is in the file."""
    severity: Severity = attrs.field(default=Severity.ERROR, eq=False)
    keys: Path = attrs.field(default=(), repr=False, eq=False)
    """``path`` before it became text."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(printable(part) for part in (place, self.path, self.message) if part)


class ConfigurationError(Exception):
    """The sources make no configuration. ``problems`` holds every reason; ``str()`` has one per line.

    ``warnings`` is what else was noticed: a misspelt key may well be why something required is missing.
    """

    def __init__(self, problems: Sequence[Problem], warnings: Sequence[Problem] = ()) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)


def _blank(c: str) -> str:
    """White space as wide as *c* on a terminal; a tab is as wide as the terminal makes it."""
    if c == "\t":
        return c
    if unicodedata.category(c) in ("Mn", "Me"):
        return ""  # an accent on the character before
    return "  " if unicodedata.east_asian_width(c) in "WF" else " "


def render(problem: Problem, *, width: int = 100) -> str:
    """*problem* for a terminal: its line, then the offending line of the file with a caret under the place.

    Args:
      width: a longer source line is cut around the place to about this many characters.
    """
    if not problem.line or not problem.source_line:
        return str(problem)
    line, at = problem.source_line, problem.column - 1
    start = max(0, at - width // 2) if len(line) > width else 0
    shown = "".join(c if c.isprintable() or c == "\t" else " " for c in line[start : start + width])
    padding = "".join(map(_blank, shown[: at - start]))
    gutter = f"{problem.line:>6} | "
    return f"{problem}\n{gutter}{shown}\n{' ' * (len(gutter) - 2)}| {padding}^"
