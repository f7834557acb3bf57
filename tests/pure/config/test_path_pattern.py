"""Expressions of ``upstream.ignorePaths``: RE2's syntax, in linear time."""

from __future__ import annotations

import time

import pytest

from swapcli.config._path_pattern import is_found, pattern_fault

FOUND = [
    (r".*\.(js|json|css)$", "/a/b.js", True),
    (r".*\.(js|json|css)$", "/a/b.jsx", False),
    (r"(?i)\.PNG$", "x.png", True),
    (r"(?:(?i)a)A", "aA", True),
    (r"(?:(?i)a)A", "Aa", False),
    (r"(?i:a)(?-i)b", "Ab", True),
    (r"^/a+/b{2,3}$", "/aaa/bbb", True),
    (r"^/a+/b{2,3}$", "/aaa/bbbb", False),
    (r"^/a+?/b{2,}$", "/aaa/bbbb", True),
    (r"x{,2}", "x{,2}", True),
    (r"a{2}b?", "a", False),
    (r"[[:alpha:]]+\d", "ab1", True),
    (r"[[:^alpha:]]", "ab", False),
    (r"[^/]+\z", "/abc", True),
    (r"[]a]", "]", True),
    (r"[a-]", "-", True),
    (r"[\d\-x]", "-", True),
    (r"(?i)[^a]", "A", False),
    (r"\bfoo\b", "a foo b", True),
    (r"\bfoo\b", "afoo", False),
    (r"\Bo\b", "foo", True),
    (r"\Qa.b\E+", "a.bb", True),
    (r"\Qa.b\E+", "axb", False),
    (r"\p{Lu}", "aB", True),
    (r"\p{Greek}", "aβ", True),
    (r"\pL", "1", False),
    (r"\P{L}|\p{^Lu}", "B", False),
    (r"\x41\x{1F600}\101", "A\U0001f600A", True),
    (r"a.b", "a\nb", False),
    (r"(?s)a.b", "a\nb", True),
    (r"^b", "a\nb", False),
    (r"(?m)^b$", "a\nb\nc", True),
    (r"(?P<name>a)(?<other>b)", "ab", True),
    ("", "", True),
    ("a||b", "", True),
    ("^$", "", True),
    ("^$", "a", False),
    ("(a*)*b", "aac", False),
]


@pytest.mark.rule("C66")
@pytest.mark.parametrize(("pattern", "text", "found"), FOUND)
def test_found(pattern: str, text: str, found: bool) -> None:
    assert pattern_fault(pattern) is None
    assert is_found(pattern, text) is found


REFUSED = [
    ("(?=a)", "invalid perl operator: (?="), ("(?<!a)", "invalid perl operator: (?<"),
    (r"(a)\1", "invalid escape sequence: \\1"), ("(?P=x)", "invalid perl operator: (?P"),
    ("a**", "bad repetition operator: **"), ("*a", "no argument for repetition operator: *"),
    ("(", "missing )"), (")", "unexpected )"), ("[a", "missing ]"), ("[b-a]", "invalid character class"),
    ("a{1001}", "invalid repetition size"), ("((((){1000}){1000}){1000}){1000}", "invalid repetition size"),
    ("a\\", "trailing"), (r"\q", "invalid escape sequence"), ("\ud800", "surrogate"),
]  # fmt: skip


@pytest.mark.rule("C66")
@pytest.mark.parametrize(("pattern", "reason"), REFUSED)
def test_refused(pattern: str, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert reason in str(pattern_fault(pattern))
    assert capfd.readouterr().err == ""  # the library would write there, too


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "a*a*a*a*a*b", "(.*)(.*)(.*)x", "((a?){20}){20}b"])
def test_no_expression_takes_long(pattern: str) -> None:
    start = time.process_time()
    assert not is_found(pattern, "a" * 100_000 + "!")
    assert time.process_time() - start < 1


def test_a_path_that_is_no_text_is_searched_all_the_same() -> None:
    assert is_found(r"\.js$", "/\udcff/a.js")
