"""Expressions of ``upstream.ignorePaths``: RE2's syntax, in linear time."""

from __future__ import annotations

import re
import time
import warnings

import pytest
from hypothesis import given, settings, strategies as st

from swapcli.config._path_pattern import MAX_TEXT, PatternError, compile_pattern

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


@pytest.mark.parametrize(("pattern", "text", "found"), FOUND)
def test_found(pattern: str, text: str, found: bool) -> None:
    assert compile_pattern(pattern).found_in(text) is found


REFUSED = [
    "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", r"(a)\1", r"\8", "(?P=x)", "(?>a)", "(?#c)", "a**", "a*+",
    "a{2}{3}",
    "*a", "{2}", "|+", "(", ")", "a)", "(?P<n", "[a", "[b-a]", "[[:foo:]]", "a{1001}", "a{3,2}",
    "a\\", r"\q", r"\C",
    r"\p{Greek}", r"\x{110000}", "(?P<a>x)(?P<a>y)", "(a{1000}){3}", "((((){1000}){1000}){1000}){1000}",
    "(" * 500,
    "a{99999999999999999999}",
]  # fmt: skip


@pytest.mark.parametrize("pattern", REFUSED)
def test_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        compile_pattern(pattern)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "a*a*a*a*a*b", "(.*)(.*)(.*)x", "((a?){20}){20}b"])
def test_no_expression_takes_long(pattern: str) -> None:
    compiled = compile_pattern(pattern)
    start = time.perf_counter()
    assert not compiled.found_in("a" * (MAX_TEXT - 1) + "!")
    assert time.perf_counter() - start < 10


def test_nothing_is_found_in_a_very_long_path() -> None:
    assert compile_pattern("a").found_in("a" * MAX_TEXT)
    assert not compile_pattern("a").found_in("a" * (MAX_TEXT + 1))


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="ab.*+?|()[]^-\\d", max_size=8), st.text(alphabet="ab1-\n", max_size=6))
def test_where_python_has_the_same_syntax_it_finds_the_same(pattern: str, text: str) -> None:
    try:
        ours = compile_pattern(pattern)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            theirs = re.compile(pattern, re.ASCII)
    except (PatternError, re.error, FutureWarning):
        return
    assert ours.found_in(text) == bool(theirs.search(text))
