"""A command line becomes a program and its arguments, without a shell. Pure.

Both dialects are those of llama-swap; neither is quite that of a shell (`shlex` would differ), and which one
applies depends on where the server runs.
"""

from __future__ import annotations

import os
import re

_POSIX_ESCAPABLE = frozenset('$`"\\')
_BACKSLASHES = re.compile(r"\\*")


def split_command(command: str, *, windows: bool = os.name == "nt") -> tuple[str, ...]:
    """The words of *command*; none when it has none but comments."""
    text = _join_lines(command)
    return tuple(_split_windows(text) if windows else _split_posix(text))


def _join_lines(command: str) -> str:
    """Without comment lines, and without the usual but needless backslash at the end of a line."""
    lines = []
    for line in command.split("\n"):
        stripped = line.strip()
        if stripped.startswith("#"):
            continue
        lines.append(stripped[:-1] + " " if stripped.endswith("\\") else line)
    return "\n".join(lines)


def _split_posix(text: str) -> list[str]:
    words: list[str] = []
    word: list[str] | None = None  # None between words: an empty quoted word is one, an absent word is not
    at, end = 0, len(text)
    while at < end:
        c = text[at]
        at += 1
        if c in " \t\n":
            if word is not None:
                words.append("".join(word))
                word = None
            continue
        word = [] if word is None else word
        if c == "'":
            close = text.find("'", at)
            close = end if close < 0 else close
            word.append(text[at:close])
            at = close + 1
        elif c == '"':
            while at < end and text[at] != '"':
                if text[at] == "\\":
                    at += 1
                    escaped = text[at : at + 1]
                    if escaped != "\n":  # which a backslash swallows, as a shell's does
                        word.append(escaped if escaped in _POSIX_ESCAPABLE or not escaped else "\\" + escaped)
                else:
                    word.append(text[at])
                at += 1
            at += 1
        elif c == "\\":
            if at < end:
                word.append(text[at])
                at += 1
        else:
            word.append(c)
    if word is not None:
        words.append("".join(word))
    return words


def _split_windows(text: str) -> list[str]:
    words: list[str] = []
    word: list[str] | None = None
    quoted = False
    at, end = 0, len(text)
    while at < end:
        c = text[at]
        if c in " \t\r\n" and not quoted:
            if word is not None:
                words.append("".join(word))
                word = None
            at += 1
            continue
        word = [] if word is None else word
        run = _BACKSLASHES.match(text, at)
        assert run is not None
        backslashes, at = len(run[0]), run.end()
        if text[at : at + 1] != '"':
            # Backslashes mean something before a quote only.
            word.append(run[0] or c)
            at += not backslashes
            continue
        word.append("\\" * (backslashes // 2))
        at += 1
        if backslashes % 2:
            word.append('"')
        elif quoted and text[at : at + 1] == '"':
            word.append('"')
            at += 1
        else:
            quoted = not quoted
    if word is not None:
        words.append("".join(word))
    return words
