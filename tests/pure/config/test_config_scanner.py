"""White space that llama-swap's YAML library takes."""

from __future__ import annotations

import pytest

from swapcli.config import ConfigurationError, Source, load_sources


def name_of(value: str) -> str:
    text = f"models:\n  m:\n    cmd: run\n    proxy: http://h\n    name:{value}\n    ttl: 1\n"
    return load_sources([Source("c.yaml", text)], environ={}).config.models["m"].name


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("\tx", "x"),
        (" \t x\t", "x"),
        (" a\tb \t c", "a\tb \t c"),
        (" a\t# comment", "a"),
        ("\t'a'\t", "a"),
        ("\t# comment\n      x", "x"),
        (" |\t\n      a\n      b", "a\nb\n"),
        (" |-\t# comment\n      a\n\n", "a"),
        (" |2+\t\n        a\n\n", "  a\n\n\n"),
        (" |\n   \n      a\n        b", "\na\n  b\n"),
        (" |\n\n      a\n        b", "\na\n  b\n"),
        (" >-\n      \n\n      a\n      b", "\n\na b"),
        (" a\t\n      b", "a b"),
    ],
)
def test_tabs_and_blank_lines(written: str, read: str) -> None:
    assert name_of(written) == read


@pytest.mark.parametrize("text", ["{a:\tb,\tc: d\t}", "[a\tb,\t'c']", "{a\tb: c}"])
def test_tabs_in_flow_style(text: str) -> None:
    load_sources([Source("c.yaml", f"x-y: {text}")], environ={})


@pytest.mark.parametrize("text", ["models:\n\tm: x\n", "- a\n\t- b\n", "\ta: b\n"])
def test_tabs_are_no_indentation(text: str) -> None:
    with pytest.raises(ConfigurationError):
        load_sources([Source("c.yaml", text)], environ={})
