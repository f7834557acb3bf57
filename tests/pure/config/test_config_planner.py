"""The planner that a configuration asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from swapcli.config import ConfigurationError, Loaded, Source, import_planner, load_sources, make_planner
from swapcore import ModelId
from swapcore.planners import AllOf, AnyOf, Group, GroupsPlanner, Include, LruPlanner, MatrixPlanner, Model

MODELS = "models:\n" + "".join(f"  {id}: {{cmd: s, proxy: 'http://h', aliases: [al-{id}]}}\n" for id in "abc")
A, B, C = ModelId("a"), ModelId("b"), ModelId("c")


def loaded(text: str) -> Loaded:
    return load_sources([Source("c.yaml", MODELS + text)], environ={})


def named(name: str, settings: str = "{}") -> Loaded:
    return loaded(f"routing: {{router: {{planner: '{name}', settings: {{planner: {settings}}}}}}}")


@pytest.mark.rule("L61")
def test_groups(tmp_path: Path) -> None:
    planner = make_planner(loaded("groups: {g: {swap: no, persistent: yes, members: [al-b]}}"), tmp_path)
    assert planner == GroupsPlanner(
        {"g": Group((B,), swap=False, persistent=True), "(default)": Group((A, C))}
    )


@pytest.mark.rule("L61")
def test_a_matrix(tmp_path: Path) -> None:
    text = "matrix: {vars: {x: c}, evict_costs: {x: 4}, sets: {s: 'a & (+t | b)', t: x}}"
    planner = make_planner(loaded(text), tmp_path)
    assert planner == MatrixPlanner(
        {"t": Model(C), "s": AllOf((Model(A), AnyOf((Include("t"), Model(B)))))}, {C: 4}
    )
    assert isinstance(planner, MatrixPlanner)
    assert list(planner.sets) == ["t", "s"]


def test_lru(tmp_path: Path) -> None:
    assert make_planner(named("lru", "{limit: 2}"), tmp_path) == LruPlanner(limit=2)
    with pytest.raises(ConfigurationError, match="lru cannot be used: TypeError"):
        make_planner(named("lru"), tmp_path)


PLANNER = """
class Mine:
    def __init__(self, *, size=1):
        self.size = size
    def evictions(self, target, view): ...
    def choose_next(self, view): ...
class NoPlanner: ...
class Half:
    def evictions(self, target, view): ...
SIZE = 5
"""


def test_a_class_from_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "cfg_planner_one.py").write_text(PLANNER)
    planner = import_planner(named("cfg_planner_one:Mine", "{size: 4}"), tmp_path)
    assert vars(planner) == {"size": 4}
    assert import_planner(loaded(""), tmp_path) is None


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("cfg_planner_two:Mine", "{sice: 4}", "sice"),
        ("cfg_planner_two:Other", "{}", "Other"),
        ("cfg_nowhere:X", "{}", "cfg_nowhere"),
        ("cfg_planner_bad:X", "{}", "RuntimeError: boom"),
        ("cfg_planner_two:SIZE", "{}", "is no class"),
        ("cfg_planner_two:NoPlanner", "{}", "no method evictions"),
        ("cfg_planner_two:Half", "{}", "no method choose_next"),
    ],
)
def test_a_class_that_cannot_be_had(name: str, settings: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "cfg_planner_two.py").write_text(PLANNER)
    (tmp_path / "cfg_planner_bad.py").write_text("raise RuntimeError('boom')\n")
    with pytest.raises(ConfigurationError, match=reason) as caught:
        import_planner(named(name, settings), tmp_path)
    assert str(caught.value).startswith("c.yaml:5:29: routing.router.planner: ")
