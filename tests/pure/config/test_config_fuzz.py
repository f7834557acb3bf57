"""Whatever the text: a configuration, or problems with places. Never a traceback, never a hang."""

from __future__ import annotations

import os
import random
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from ruamel.yaml import YAML

from swapcli.config import ConfigurationError, Source, effective, load_sources, render, to_specs
from swapcli.config._path_pattern import is_found, pattern_fault

CASES: list[dict[str, Any]] = YAML(typ="safe", pure=True).load(
    Path(__file__).parents[2] / "data" / "config_cases.yaml"
)
TEXTS = [t for c in CASES for t in ([c["yaml"]] if c.get("yaml") else c.get("files", {}).values())]
CHUNK = 1000  # inputs of one test, so that none takes long enough to look like a hang
INPUTS = int(os.environ.get("SWAPCLI_FUZZ_INPUTS", "2000"))
ENVIRON = {
    "T_ROOT": "/opt",
    "T_NAME": "fig",
    "T_HOST": "box",
    "T_OUT": "${env.T_IN}",
    "T_IN": "in",
    "T_EMPTY": "",
}

PIECES = [
    "${PORT}", "${MODEL_ID}", "${PID}", "${A}", "${env.T_ROOT}", "${env.NO}", "&a ", "*a", "<<: *a", "!!int ",
    "!!binary ", "!x ", "~", "null", "- ", ": ", "? ", "|\n", ">\n", "[", "]", "{", "}", "'", '"', "#",
    "\n", "\t",
    "  ", "---\n", "...\n", "%YAML 1.1\n", "\\", "0x", "1e999", "-1", "99999999999999999999999", ".inf",
    ".nan",
    "2024-01-02", "true", "yes", "&", "+", "(", ")", "\x00", "\x85", "\u2028", "é", "\U0001f600", "\ud7ff",
    "@", "`",
    "models:\n", "macros: {A: '${A}${B}', B: '${A}'}\n", "groups: {g: [a]}\n", "peers: ~\n", "1: 2\n",
    "~: 3\n",
]  # fmt: skip


def check(*texts: str) -> None:
    """Load *texts* as files; the answer has the right shape."""
    sources = [Source(f"file{at}.yaml", text) for at, text in enumerate(texts)]
    try:
        loaded = load_sources(sources, environ=ENVIRON)
    except ConfigurationError as error:
        problems, least = [*error.problems, *error.warnings], 1
    else:
        to_specs(loaded.config)
        effective(loaded.config)
        problems, least = [*loaded.warnings, *loaded.refusals], 0
    assert len(problems) >= least
    for problem in problems:
        text = next(s.text for s in sources if s.name == problem.file)
        assert 0 <= problem.line <= text.count("\n") + 1
        assert "\n" not in str(problem)
        assert render(problem)


def mutate(text: str, rng: random.Random) -> str:
    """*text* with a few things changed in it."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        match rng.randrange(6):
            case 0:
                text = text[:at] + rng.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[at + rng.randint(1, 8) :]
            case 2:
                text = (
                    text[:at] + chr(rng.choice((rng.randrange(128), rng.randrange(0xD800)))) + text[at + 1 :]
                )
            case 3:
                lines = text.split("\n")
                lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
                text = "\n".join(lines)
            case 4:
                other = rng.choice(TEXTS)
                text = text[:at] + other[rng.randrange(len(other)) :][: rng.randint(1, 60)] + text[at:]
            case _:
                words = text.split(" ")
                one, two = rng.randrange(len(words)), rng.randrange(len(words))
                words[one], words[two] = words[two], words[one]
                text = " ".join(words)
    return text


@pytest.mark.parametrize("chunk", range(-(-INPUTS // CHUNK)))
def test_mutated_cases(chunk: int) -> None:
    rng = random.Random(chunk)
    for _ in range(CHUNK):
        texts = [mutate(rng.choice(TEXTS), rng) for _ in range(rng.choice((1, 1, 1, 2)))]
        try:
            check(*texts)
        except BaseException as error:
            error.add_note(f"input: {texts!r}")
            raise


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70000),
    st.floats(),
    st.sampled_from(PIECES),
    st.text(max_size=6),
)
WORDS = """
models macros cmd cmdStop proxy aliases env ttl filters setParams setParamsByID stripParams strip_params
groups members matrix vars sets evict_costs routing router use settings scheduler fifo priority hooks
on_startup preload peers selectors strategy targets profiles pins store path upstream ignorePaths
performance every  startPort a b metadata timeouts capabilities in context restart liveness stopSignal
maxWaiting healthCheckTimeout
"""
KEYS = st.sampled_from(WORDS.split())
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=200)
@given(st.dictionaries(KEYS, TREES, max_size=6))
def test_any_tree_of_known_keys(tree: dict[str, Any]) -> None:
    out = StringIO()
    YAML(typ="safe", pure=True).dump(tree, out)
    check(out.getvalue())


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    check(text)


@settings(max_examples=300)
@given(
    st.text(alphabet="ab.*+?|()[]^$-\\dwQEpL{},:1 ", max_size=20), st.text(alphabet="ab1 \n-", max_size=40)
)
def test_any_pattern(pattern: str, text: str) -> None:
    fault = pattern_fault(pattern)
    assert fault or (fault is None and is_found(pattern, text) in (True, False))
