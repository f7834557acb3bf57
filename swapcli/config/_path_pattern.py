"""Regular expressions in RE2's syntax, for ``upstream.ignorePaths``, matched in time linear in the text.

Python's `re` takes other things than RE2 does, and some expressions keep it busy for ever on a text that a
client chose. Here an expression becomes a small automaton, all of whose states advance together, without
backtracking.
Scripts (``\\p{Greek}``) are the one part of RE2's syntax that is not taken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import attrs

from ._pattern_syntax import (
    Alternation,
    Assertion,
    Concatenation,
    OneOf,
    PatternError as PatternError,
    Repeat,
    Syntax,
    parse_pattern,
)

MAX_PROGRAM = 2000
"""Instructions of one automaton; ``a{1000}{3}`` would not be one any more."""
_MAX_WORK = 20 * MAX_PROGRAM  # steps of compiling, some of which emit nothing: (){1000}
MAX_TEXT = 4096
"""Characters of a text that is searched. A longer path is no asset's: nothing is found in it."""

_MATCH, _STEP, _FORK, _ASSERT = range(4)
_Instruction = tuple[int, Callable[..., bool] | None, int, int]


def _is_word(c: str) -> bool:
    return c.isascii() and (c.isalnum() or c == "_")


_ASSERTIONS: dict[str, Callable[[str, str], bool]] = {
    # Given the characters before and after a place; "" is the text's own start or end.
    "start": lambda before, after: not before,
    "end": lambda before, after: not after,
    "line start": lambda before, after: before in ("", "\n"),
    "line end": lambda before, after: after in ("", "\n"),
    "boundary": lambda before, after: _is_word(before) != _is_word(after),
    "no boundary": lambda before, after: _is_word(before) == _is_word(after),
}


class _Compiler:
    def __init__(self) -> None:
        self.program: list[_Instruction] = [(_MATCH, None, 0, 0)]
        self.work = 0

    def emit(self, kind: int, test: Callable[..., bool] | None, to: int, other: int = 0) -> int:
        if len(self.program) == MAX_PROGRAM:
            raise PatternError("expression too large")
        self.program.append((kind, test, to, other))
        return len(self.program) - 1

    def compile(self, syntax: Syntax, to: int) -> int:
        """Instructions for *syntax* that go on at *to*; the first of them."""
        self.work += 1
        if self.work > _MAX_WORK:
            raise PatternError("expression too large")
        match syntax:
            case OneOf():
                return self.emit(_STEP, syntax.has, to)
            case Assertion(kind):
                return self.emit(_ASSERT, _ASSERTIONS[kind], to)
            case Concatenation(parts):
                for part in reversed(parts):
                    to = self.compile(part, to)
                return to
            case Alternation(parts):
                first = self.compile(parts[-1], to)
                for part in reversed(parts[:-1]):
                    first = self.emit(_FORK, None, self.compile(part, to), first)
                return first
            case Repeat(part, least, most):
                if most is None:
                    loop = self.emit(_FORK, None, 0, to)
                    self.program[loop] = (_FORK, None, self.compile(part, loop), to)
                    # (x)+ is one x and then the loop; the loop alone is (x)*.
                    to = loop
                else:
                    after = to
                    for _ in range(most - least):
                        to = self.emit(_FORK, None, self.compile(part, to), after)
                for _ in range(least):
                    to = self.compile(part, to)
                return to


@attrs.frozen(eq=False)
class PathPattern:
    """A compiled expression."""

    text: str
    _program: list[_Instruction] = attrs.field(repr=False)
    _start: int = attrs.field(repr=False)

    def found_in(self, path: str) -> bool:
        """The expression matches somewhere in *path*. Never, in one of more than `MAX_TEXT` characters."""
        if len(path) > MAX_TEXT:
            return False
        states: set[int] = set()
        before = ""
        for at in range(len(path) + 1):
            after = path[at : at + 1]
            reached = self._closure({*states, self._start}, before, after)
            if reached is None:
                return True
            states = {to for to, test in reached if test(after)} if after else set()
            before = after
        return False

    def _closure(
        self, states: set[int], before: str, after: str
    ) -> list[tuple[int, Callable[..., bool]]] | None:
        """The steps that *states* can take from here; ``None`` when one of them has matched."""
        program = self._program
        steps: list[tuple[int, Callable[..., bool]]] = []
        waiting, seen = list(states), set(states)
        while waiting:
            kind, test, to, other = program[waiting.pop()]
            match kind:
                case 0:
                    return None
                case 1:
                    assert test is not None
                    steps.append((to, test))
                    continue
                case 2:
                    further: tuple[int, ...] = (to, other)
                case _:
                    assert test is not None
                    further = (to,) if test(before, after) else ()
            for state in further:
                if state not in seen:
                    seen.add(state)
                    waiting.append(state)
        return steps


@cache
def compile_pattern(text: str) -> PathPattern:
    """*text* as a pattern.

    Raises:
      PatternError: it is no RE2 expression, or too large a one.
    """
    compiler = _Compiler()
    start = compiler.compile(parse_pattern(text), 0)
    return PathPattern(text, compiler.program, start)
