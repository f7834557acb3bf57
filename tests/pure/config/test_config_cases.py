"""Every case of the conformance file: the same input, the same meaning as in llama-swap."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from swapcli._check_show import as_yaml
from swapcli.config import (
    Configuration,
    ConfigurationError,
    Either,
    Expression,
    Loaded,
    ModelTerm,
    SetTerm,
    Source,
    Together,
    find_sources,
    load,
    load_sources,
)
from swapcli.config._effective import effective, written_out
from swapcli.config._problem import Problem

CASES_FILE = Path(__file__).parents[2] / "data" / "config_cases.yaml"
CASES: list[dict[str, Any]] = YAML(typ="safe", pure=True).load(CASES_FILE)
TYPES = {type(None): "null", bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "map"}


def load_case(case: dict[str, Any], root: Path) -> Loaded:
    """Write the files of *case* under *root* and load them."""
    files = case.get("files", {"config.yaml": case.get("yaml")})
    for name, text in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, newline="")
    file = case.get("config", "config.yaml")
    directory = case.get("config_dir", "")
    sources = find_sources(root / file if file else None, root / directory if directory else None)
    if isinstance(sources, Problem):
        raise ConfigurationError([sources])
    return load(sources, environ=case.get("env", {}), windows=case.get("platform") == "windows")


def value_at(data: Any, path: str) -> Any:
    """The value of a case's dotted path, with its suffix applied."""
    parts = path.split(".")
    if parts[0] == "resolve":
        return data["resolve"].get(path.removeprefix("resolve."))
    for part in parts:
        match part:
            case "$keys":
                data = sorted(data or {})
            case "$sorted":
                data = sorted(data)
            case "$len":
                data = len(data)
            case "$type":
                data = TYPES[type(data)]
            case _:
                data = data[int(part)] if isinstance(data, list) else data[part]
    return data


def same(one: Any, other: Any) -> bool:
    """Equal in value and in type, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_case(case: dict[str, Any], tmp_path: Path) -> None:
    expected = case["expect"]
    if isinstance(expected, dict):
        with pytest.raises(ConfigurationError) as caught:
            load_case(case, tmp_path)
        text = str(caught.value).lower()
        for word in [expected["error"], *expected.get("names", [])]:
            assert str(word).lower() in text
        return
    loaded = load_case(case, tmp_path)
    data = effective(loaded.config, secrets=True, windows=case.get("platform") == "windows")
    for line in expected:
        for path, value in line.items():
            found = value_at(data, path)
            assert same(found, value), f"{path}: {found!r}, not {value!r}"
    for task in case.get("solve", []):
        assert solve(loaded.config, task["target"], task["running"]) == (
            task["set"],
            sorted(task["evict"]),
            sorted(task["target_set"]),
        )


def alternatives(expression: Expression, sets: dict[str, Expression]) -> Iterator[frozenset[str]]:
    """Every alternative of *expression*, multiplied out, which is fine for a test of small ones."""
    match expression:
        case ModelTerm(model):
            yield frozenset({model})
        case SetTerm(name):
            yield from alternatives(sets[name], sets)
        case Either(parts):
            for part in parts:
                yield from alternatives(part, sets)
        case Together(parts):
            for chosen in itertools.product(*(list(alternatives(part, sets)) for part in parts)):
                yield frozenset().union(*chosen)


def solve(config: Configuration, target: str, running: list[str]) -> tuple[str, list[str], list[str]]:
    """The set that is chosen for *target*, what it evicts, and the alternative of it."""
    program = config.matrix_program
    assert program is not None
    sets = {s.name: s.expression for s in program.sets}
    best: tuple[int, str, list[str], list[str]] | None = None
    for matrix_set in program.sets:
        for alternative in alternatives(matrix_set.expression, sets):
            if target in alternative:
                evicted = sorted(set(running) - alternative)
                cost = sum(program.costs.get(model, 1) for model in evicted)
                if best is None or cost < best[0]:
                    best = (cost, matrix_set.name, evicted, sorted(alternative))
    return best[1:] if best else ("", sorted(running), [target])


@pytest.mark.parametrize(
    "case", [case for case in CASES if isinstance(case["expect"], list)], ids=lambda case: case["id"]
)
def test_a_configuration_that_was_written_out_means_the_same(case: dict[str, Any], tmp_path: Path) -> None:
    windows = case.get("platform") == "windows"
    config = load_case(case, tmp_path).config
    text = as_yaml(written_out(config, secrets=True))
    again = load_sources([Source("written-out.yaml", text)], environ={}, windows=windows)
    for words in ("unknown key", "made by the server"):
        assert not any(words in warning.message for warning in again.warnings)
    before, after = (effective(each, secrets=True, windows=windows) for each in (config, again.config))
    for meaning in (before, after):
        del meaning["groups"]  # the older spelling of what is under `routing`
        meaning.pop("matrix", None)
    assert after == before
