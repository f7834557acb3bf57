"""The expressions of ``matrix.sets``, parsed. Pure; alternatives are never multiplied out.

expression = term {"|" term}
term       = atom {"&" atom}
atom       = identifier | "+" identifier | "(" expression ")"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import attrs

MAX_PARENTHESES = 100

_TOKEN = re.compile(r"\s*(?:(?P<name>[\w.-]+)|\+(?P<set>[\w.-]+)|(?P<mark>[&|()])|(?P<other>\S)|$)")


@attrs.frozen
class ModelTerm:
    """One model. Before its set is compiled, ``model`` is the identifier as written."""

    model: str


@attrs.frozen
class SetTerm:
    """``+name``: whatever the other set allows."""

    set: str


@attrs.frozen
class Together:
    """``a & b``: an alternative of each part, all at once."""

    parts: tuple[Expression, ...]


@attrs.frozen
class Either:
    """``a | b``: the alternatives of each part, in their order."""

    parts: tuple[Expression, ...]


Expression = ModelTerm | SetTerm | Together | Either


@attrs.frozen
class MatrixSet:
    """A named set of models that may run together."""

    name: str
    text: str
    """The expression as written."""
    expression: Expression
    """Its identifiers are model ids."""


@attrs.frozen
class MatrixProgram:
    """A whole matrix, ready for a solver."""

    sets: tuple[MatrixSet, ...]
    """In the order in which they are tried; a set stands after those that it includes."""
    costs: Mapping[str, int]
    """What stopping a model costs, by model id; a model that is not here costs 1."""


class DslError(ValueError):
    """The text is no expression; says why, and at which character."""


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    at = 0
    while match := _TOKEN.match(text, at):
        kind = match.lastgroup
        if kind is None:
            break
        start = match.start(kind)
        if kind == "other":
            if match[kind] == "+":
                raise DslError(f"+ at character {start + 1} must be followed by the name of a set")
            raise DslError(f"unexpected {match[kind]!r} at character {start + 1}")
        yield kind, match[kind], start + 1
        at = match.end()


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.at = 0
        self.depth = 0

    def mark(self) -> str:
        """The operator or parenthesis that is next; empty for anything else."""
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "mark":
            return self.tokens[self.at][1]
        return ""

    def expression(self) -> Expression:
        parts = [self.term()]
        while self.mark() == "|":
            self.at += 1
            parts.append(self.term())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def term(self) -> Expression:
        parts = [self.atom()]
        while self.mark() == "&":
            self.at += 1
            parts.append(self.atom())
        return parts[0] if len(parts) == 1 else Together(tuple(parts))

    def atom(self) -> Expression:
        if self.at == len(self.tokens):
            after = f" after {self.tokens[-1][1]}" if self.tokens else ""
            raise DslError(f"a model is missing at the end{after}")
        kind, text, place = self.tokens[self.at]
        self.at += 1
        match kind, text:
            case "name", _:
                return ModelTerm(text)
            case "set", _:
                return SetTerm(text)
            case _, "(":
                if self.depth == MAX_PARENTHESES:
                    raise DslError(f"more than {MAX_PARENTHESES} parentheses inside each other")
                self.depth += 1
                inner = self.expression()
                if self.mark() != ")":
                    raise DslError(f"the ( at character {place} is not closed")
                self.at += 1
                self.depth -= 1
                return inner
            case _:
                raise DslError(f"a model is missing before {text} at character {place}")


def parse(text: str) -> Expression:
    """*text* as an expression whose identifiers are not looked up yet. Raises `DslError`."""
    parser = _Parser(text)
    if not parser.tokens:
        raise DslError("the expression is empty")
    expression = parser.expression()
    if parser.at < len(parser.tokens):
        kind, word, place = parser.tokens[parser.at]
        if word == ")" and kind == "mark":
            raise DslError(f"the ) at character {place} closes nothing")
        raise DslError(f"& or | is missing before {'+' if kind == 'set' else ''}{word} at character {place}")
    return expression


def terms(expression: Expression) -> Iterator[ModelTerm | SetTerm]:
    """Every model and set that *expression* names, from left to right."""
    match expression:
        case Together(parts) | Either(parts):
            for part in parts:
                yield from terms(part)
        case _:
            yield expression
