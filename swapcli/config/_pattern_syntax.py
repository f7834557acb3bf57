"""The syntax of RE2 expressions, parsed. Pure."""

from __future__ import annotations

import re
import unicodedata

import attrs

MAX_REPEAT = 1000
MAX_GROUPS = 100


class PatternError(ValueError):
    """The text is no RE2 expression; says why."""


@attrs.frozen
class OneOf:
    """One character: of these ranges or Unicode categories, or of none of them."""

    ranges: tuple[tuple[str, str], ...] = ()
    categories: tuple[tuple[str, bool], ...] = ()
    """A prefix of a category's name, and whether that is what is excluded."""
    inner: tuple[OneOf, ...] = ()
    negated: bool = False
    fold: bool = False
    """Case does not matter."""

    def has(self, c: str) -> bool:
        """*c* is such a character."""
        found = self._has(c)
        if self.fold and not found:
            found = any(self._has(other) for other in (c.lower(), c.upper()) if len(other) == 1)
        return found != self.negated

    def _has(self, c: str) -> bool:
        return (
            any(low <= c <= high for low, high in self.ranges)
            or any(part.has(c) for part in self.inner)
            or any(unicodedata.category(c).startswith(name) != excluded for name, excluded in self.categories)
        )


@attrs.frozen
class Assertion:
    """A place, not a character."""

    kind: str


@attrs.frozen
class Concatenation:
    """One after the other."""

    parts: tuple[Syntax, ...]


@attrs.frozen
class Alternation:
    """One of them."""

    parts: tuple[Syntax, ...]


@attrs.frozen
class Repeat:
    """*least* to *most* times; ``None``: any number. Whether something is found does not depend on greed."""

    part: Syntax
    least: int
    most: int | None


Syntax = OneOf | Assertion | Concatenation | Alternation | Repeat

_DIGIT = OneOf((("0", "9"),))
_SPACE = OneOf((("\t", "\n"), ("\f", "\r"), (" ", " ")))
_WORD = OneOf((("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z")))
_PERL = {
    "d": _DIGIT,
    "s": _SPACE,
    "w": _WORD,
    "D": attrs.evolve(_DIGIT, negated=True),
    "S": attrs.evolve(_SPACE, negated=True),
    "W": attrs.evolve(_WORD, negated=True),
}
_POSIX = {
    "alnum": ("09", "AZ", "az"), "alpha": ("AZ", "az"), "ascii": ("\x00\x7f",), "blank": ("\t\t", "  "),
    "cntrl": ("\x00\x1f", "\x7f\x7f"), "digit": ("09",), "graph": ("!~",), "lower": ("az",), "print": (" ~",),
    "punct": ("!/", ":@", "[`", "{~"), "space": ("\t\r", "  "), "upper": ("AZ",),
    "word": ("09", "AZ", "az", "__"), "xdigit": ("09", "AF", "af"),
}  # fmt: skip
_CONTROL = {"a": "\a", "f": "\f", "t": "\t", "n": "\n", "r": "\r", "v": "\v"}
_PLACES = {"A": "start", "z": "end", "b": "boundary", "B": "no boundary"}
_CATEGORIES = re.compile(r"Any|C[cfos]?|L[lmotu]?|M[cen]?|N[dlo]?|P[cdefios]?|S[ckmo]?|Z[lps]?")
_COUNT = re.compile(r"\{([0-9]+)(,([0-9]*))?\}")
_GROUP = re.compile(r"\(\?(?:P?<([A-Za-z0-9_]+)>|([imsU]*)(-[imsU]+)?([:)]))")
_HEX = re.compile(r"x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})")
_OCTAL = re.compile(r"0[0-7]{0,2}|[1-7][0-7]{1,2}")
_CLASS_NAME = re.compile(r"p(?:([A-Z])|\{(\^?)([A-Za-z_]+)\})", re.IGNORECASE)


@attrs.frozen
class _Flags:
    fold: bool = False
    multiline: bool = False
    dot_all: bool = False


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.flags = _Flags()
        self.names: set[str] = set()

    def next(self) -> str:
        return self.text[self.at : self.at + 1]

    def alternation(self) -> Syntax:
        parts = [self.concatenation()]
        while self.next() == "|":
            self.at += 1
            parts.append(self.concatenation())
        return parts[0] if len(parts) == 1 else Alternation(tuple(parts))

    def concatenation(self) -> Syntax:
        parts: list[Syntax] = []
        while (c := self.next()) and c not in "|)":
            if c in "*+?" or _COUNT.match(self.text, self.at):
                raise PatternError(f"missing argument to repetition operator: {c}")
            if self.text.startswith("\\Q", self.at):
                parts += self.quoted()
                continue
            piece = self.atom()
            if piece is not None:
                parts.append(self.repeated(piece))
        return parts[0] if len(parts) == 1 else Concatenation(tuple(parts))

    def repeated(self, part: Syntax) -> Syntax:
        bounds = self.bounds()
        if bounds is None:
            return part
        if self.next() == "?":
            self.at += 1
        start = self.at
        if self.bounds() is not None:
            raise PatternError(f"invalid nested repetition operator: {self.text[start - 1 : self.at]}")
        return Repeat(part, *bounds)

    def bounds(self) -> tuple[int, int | None] | None:
        """The repetition operator that is next, read; ``None`` when there is none."""
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(self.next())
        if simple is not None:
            self.at += 1
            return simple
        match = _COUNT.match(self.text, self.at)
        if match is None:
            return None
        digits = match[1], match[3] or "0"
        # Their length first: the number itself could be as long as the file.
        if max(map(len, digits)) > 6 or max(map(int, digits)) > MAX_REPEAT:
            raise PatternError(f"bad repetition operator: {match[0][:20]}: more than {MAX_REPEAT}")
        least = int(match[1])
        most = least if match[2] is None else int(match[3]) if match[3] else None
        if most is not None and most < least:
            raise PatternError(f"bad repetition operator: {match[0]}")
        self.at = match.end()
        return least, most

    def literal(self, c: str) -> OneOf:
        return OneOf(((c, c),), fold=self.flags.fold)

    def quoted(self) -> list[Syntax]:
        end = self.text.find("\\E", self.at)
        end = len(self.text) if end < 0 else end
        words: list[Syntax] = [self.literal(c) for c in self.text[self.at + 2 : end]]
        self.at = end + 2
        if words:
            words.append(self.repeated(words.pop()))
        return words

    def atom(self) -> Syntax | None:
        """What is next; ``None`` for flags, which match nothing."""
        c = self.next()
        if c == "(":
            return self.group()
        if c == "[":
            return self.bracket()
        if c == "\\":
            return self.escape()
        self.at += 1
        match c:
            case ".":
                return OneOf(() if self.flags.dot_all else (("\n", "\n"),), negated=True)
            case "^":
                return Assertion("line start" if self.flags.multiline else "start")
            case "$":
                return Assertion("line end" if self.flags.multiline else "end")
            case _:
                return self.literal(c)

    def group(self) -> Syntax | None:
        outer = self.flags
        if self.text.startswith("(?", self.at):
            match = _GROUP.match(self.text, self.at)
            if match is None:
                raise PatternError(f"invalid or unsupported group: {self.text[self.at : self.at + 4]}")
            name, on, off, end = match.groups()
            if name is not None:
                if name in self.names:
                    raise PatternError(f"duplicate group name: {name}")
                self.names.add(name)
            else:
                self.flags = self.with_flags(on, off or "")
            self.at = match.end()
            if end == ")":
                return None
        else:
            self.at += 1
        if self.depth == MAX_GROUPS:
            raise PatternError(f"more than {MAX_GROUPS} groups inside each other")
        self.depth += 1
        inner = self.alternation()
        self.depth -= 1
        if self.next() != ")":
            raise PatternError("missing closing )")
        self.at += 1
        self.flags = outer
        return inner

    def with_flags(self, on: str, off: str) -> _Flags:
        changes = {
            name: letter in on
            for letter, name in (("i", "fold"), ("m", "multiline"), ("s", "dot_all"))
            if letter in on + off
        }
        return attrs.evolve(self.flags, **changes)

    def escape(self) -> Syntax:
        kind = self.text[self.at + 1 : self.at + 2]
        if kind in _PLACES:
            self.at += 2
            return Assertion(_PLACES[kind])
        if kind == "C":
            raise PatternError("invalid escape: \\C")
        return self.set_escape() or self.literal(self.character())

    def set_escape(self) -> OneOf | None:
        """``\\d``, ``\\pL`` and their like, if that is next."""
        kind = self.text[self.at + 1 : self.at + 2]
        if kind in _PERL:
            self.at += 2
            return _PERL[kind]
        if kind not in ("p", "P"):
            return None
        match = _CLASS_NAME.match(self.text, self.at + 1)
        name = match and (match[1] or match[3])
        if match is None or name is None or not _CATEGORIES.fullmatch(name):
            raise PatternError(f"unknown or unsupported character class: {self.text[self.at : self.at + 20]}")
        self.at = match.end()
        negated = (kind == "P") != bool(match[2])
        return OneOf(categories=(("" if name == "Any" else name, False),), negated=negated)

    def character(self) -> str:
        """The single character that an escape stands for."""
        rest = self.at + 1
        c = self.text[rest : rest + 1]
        if match := _HEX.match(self.text, rest):
            self.at = match.end()
            code = int(match[1] or match[2], 16)
            if code > 0x10FFFF:
                raise PatternError(f"invalid escape: \\{match[0]}")
            return chr(code)
        if match := _OCTAL.match(self.text, rest):
            self.at = match.end()
            return chr(int(match[0], 8))
        self.at += 2
        if c in _CONTROL:
            return _CONTROL[c]
        if not c:
            raise PatternError("trailing backslash at end of expression")
        if c.isascii() and not c.isalnum() and c != "_":
            return c
        raise PatternError(f"invalid escape: \\{c}")

    def bracket(self) -> OneOf:
        start = self.at
        self.at += 1
        negated = self.next() == "^"
        self.at += negated
        ranges: list[tuple[str, str]] = []
        inner: list[OneOf] = []
        first = True
        while first or self.next() != "]":
            first = False
            if not self.next():
                raise PatternError(f"missing closing ]: {self.text[start : start + 20]}")
            found = self.posix() or (self.set_escape() if self.next() == "\\" else None)
            if found is not None:
                inner.append(found)
                continue
            low = high = self.member()
            if self.next() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self.member()
            if high < low:
                raise PatternError(f"invalid character class range: {low}-{high}")
            ranges.append((low, high))
        self.at += 1
        return OneOf(tuple(ranges), (), tuple(inner), negated, self.flags.fold)

    def posix(self) -> OneOf | None:
        if not self.text.startswith("[:", self.at):
            return None
        end = self.text.find(":]", self.at + 2)
        if end < 0:
            return None
        name = self.text[self.at + 2 : end]
        pairs = _POSIX.get(name.removeprefix("^"))
        if pairs is None:
            raise PatternError(f"invalid character class range: [:{name[:20]}:]")
        self.at = end + 2
        return OneOf(tuple((p[0], p[1]) for p in pairs), negated=name.startswith("^"))

    def member(self) -> str:
        c = self.next()
        if c == "\\":
            return self.character()
        self.at += 1
        return c


def parse_pattern(text: str) -> Syntax:
    """*text* as syntax. Raises `PatternError`."""
    parser = _Parser(text)
    syntax = parser.alternation()
    if parser.at < len(text):
        raise PatternError("unexpected )")
    return syntax
