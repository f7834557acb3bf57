"""What is said about a mistake does not give away keys, passwords and the values of variables."""

from __future__ import annotations

from textwrap import dedent

import pytest

from swapcli.config import ConfigurationError, Problem, Source, load_sources, render


def said(*texts: str) -> str:
    """Everything that a user sees of the problems of *texts*, excerpts included."""
    sources = [Source(f"{number}.yaml", dedent(text)) for number, text in enumerate(texts)]
    problems: tuple[Problem, ...]
    try:
        loaded = load_sources(sources, environ={"OTHER": "x"})
        problems = (*loaded.refusals, *loaded.warnings)
    except ConfigurationError as error:
        problems = (*error.problems, *error.warnings)
    assert problems
    return "\n".join(map(render, problems))


MODEL = "models: {m: {cmd: run, proxy: 'http://h', "


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("apiKeys: hush-hush", "0.yaml:1:10: apiKeys: expected a list of strings, not a string"),
        ("apiKeys: [hush-hush, {a: hush-hush}]", "0.yaml:1:22: apiKeys[1]: expected a string, not a map"),
        ("apiKeys: ['hush-hush hush-hush']", "0.yaml:1:11: apiKeys[0]: must not contain spaces"),
        ("apiKeys: 2024-01-02", "apiKeys: expected a list of strings, not a timestamp"),
        (
            "routing: {scheduler: {settings: {fifo: {priorityKeys: hush-hush}}}}",
            "priorityKeys: expected a list of strings, not a string",
        ),
        ("peers: {p: {proxy: 'http://h', models: [a], apiKey: [hush-hush]}}", "peers.p.apiKey: expected"),
        (MODEL + "env: TOKEN=hush-hush}}", "models.m.env: expected a list of strings, not a string"),
        (MODEL + "env: [hush-hush]}}", "models.m.env[0]: is not NAME=value; ignored"),
        ("models: {m: {cmd: run, proxy: 'http://me:hush-hush@[h'}}", "models.m.proxy: no URL: 'http://me:***@[h'"),
        ("models: {m: {cmd: run, proxy: 'ftp://me:hush-hush@h'}}", "nothing can be sent to 'ftp://me:***@h'"),
        ("peers: {p: {proxy: 'http://me:hush-hush@[h', models: [a]}}", "no URL: 'http://me:***@[h'"),
    ],
)  # fmt: skip
def test_no_message_and_no_excerpt_shows_a_secret(text: str, place: str) -> None:
    assert place in said(text)
    assert "hush-hush" not in said(text)


def test_the_caret_is_where_it_was_and_references_are_readable() -> None:
    assert said("apiKeys: [hush, '${env.UNSET}']").splitlines() == [
        "0.yaml:1:18: apiKeys[1]: the environment variable UNSET is not set",
        "     1 | apiKeys: ****** *${env.UNSET}**",
        "       |                  ^",
    ]


def test_files_that_disagree_are_told_by_their_places() -> None:
    text = said("logLevel: info\napiKeys: hush-hush\n", "apiKeys: hush-two\nlogLevel: warn\n")
    assert "1.yaml:1:10: apiKeys: 0.yaml:2:10 says something else" in text
    assert "1.yaml:2:11: logLevel: 0.yaml:1:11 says something else" in text
    assert "hush" not in text
