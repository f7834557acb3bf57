"""The page about planners: complete, and its examples true."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from swapcli.config import Source, load_sources, make_planner
from swapcore import ModelId, planners
from swapcore.planners import LruPlanner

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "planners.md").read_text("utf-8")
NAMES = sorted(
    name for name, value in vars(planners).items() if not name.startswith("_") and not inspect.ismodule(value)
)


def test_all_planners_are_there() -> None:
    assert {"GroupsPlanner", "MatrixPlanner", "LruPlanner", "Group", "Choice"} < set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_has_a_docstring_and_a_place(name: str) -> None:
    value = getattr(planners, name)
    assert not inspect.isclass(value) or inspect.getdoc(value)
    assert f"### `{name}" in PAGE


@pytest.mark.parametrize("planner", [planners.GroupsPlanner, planners.MatrixPlanner, planners.LruPlanner])
def test_each_method_of_its_own_is_on_the_page(planner: type) -> None:
    for name in vars(planner):
        if not name.startswith("_") and inspect.isfunction(getattr(planner, name)):
            assert name in ("evictions", "choose_next") or f"`{name}(" in PAGE


def test_the_example_in_python_is_true() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    exec(example, {})


def test_the_example_in_yaml_is_read(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    models = "models: {embed: {cmd: s, proxy: 'http://h'}}\n"
    loaded = load_sources([Source("config.yaml", models + example)], environ={})
    assert make_planner(loaded, tmp_path) == LruPlanner(2, [ModelId("embed")])
