"""Commands become words as in llama-swap."""

from __future__ import annotations

import pytest

from swapcli.config._command import split_command

LINES = [
    ("a\\\nb", ["a", "b"]),
    ("a b\nc", ["a", "b", "c"]),
    ("run\n  # gone\n-c 9", ["run", "-c", "9"]),
    ("run # stays", ["run", "#", "stays"]),
    ("run a#b", ["run", "a#b"]),
    ("a \\  \n  b", ["a", "b"]),
    ('run "a\n# gone\nb" c', ["run", "a\nb", "c"]),
    ('run "a\\\nb"', ["run", "a \nb"]),
    ("foo \\\\", ["foo", " "]),
]


@pytest.mark.parametrize(("text", "words"), LINES)
@pytest.mark.rule("L10")
def test_c137_c138_lines(text: str, words: list[str]) -> None:
    assert split_command(text, windows=False) == tuple(words)


POSIX = [
    ("run 'a\\'b", ["run", "a\\b"]),
    (r'x "\$a"', ["x", "$a"]),
    (r'x "\n\"\\\`"', ["x", '\\n"\\`']),
    (r"x C:\foo", ["x", "C:foo"]),
    ('a"b c"d', ["ab cd"]),
    ("a''b \"\" ''", ["ab", "", ""]),
    ("x 'open", ["x", "open"]),
    ('x "open', ["x", "open"]),
    ("x end\\ y", ["x", "end y"]),
    ("a\rb\u00a0c", ["a\rb\u00a0c"]),
    (
        "x $HOME ~ *.gguf | tee > f ; && `id`",
        ["x", "$HOME", "~", "*.gguf", "|", "tee", ">", "f", ";", "&&", "`id`"],
    ),
    ('""', [""]),
    ("", []),
    (" \n\t\n", []),
    ("# nothing", []),
]


@pytest.mark.parametrize(("text", "words"), POSIX)
@pytest.mark.rule("L10")
def test_c139_c141_c142_posix(text: str, words: list[str]) -> None:
    assert split_command(text, windows=False) == tuple(words)


WINDOWS = [
    ('run "a ""b"" c"', ["run", 'a "b" c']),
    (r"run C:\dir\file 'a b'", ["run", r"C:\dir\file", "'a", "b'"]),
    (r'run "C:\dir with space\\" x', ["run", "C:\\dir with space\\", "x"]),
    (r"run a\"b", ["run", 'a"b']),
    (r"run a\\\"b", ["run", r"a\"b"]),
    (r'run a\\"b c"', ["run", r"a\b c"]),
    ("run a\rb", ["run", "a", "b"]),
    ('run ""', ["run", ""]),
    ('run "open', ["run", "open"]),
    ("run \\\\\\", ["run", "\\\\"]),
]


@pytest.mark.parametrize(("text", "words"), WINDOWS)
@pytest.mark.rule("L10")
def test_c140_windows(text: str, words: list[str]) -> None:
    assert split_command(text, windows=True) == tuple(words)


@pytest.mark.parametrize("windows", [False, True])
def test_many_backslashes_take_linear_time(windows: bool) -> None:
    text = "run " + "\\" * 200_000 + "x"
    assert split_command(text, windows=windows)[0] == "run"
