"""Every block of docs/how-to/write-a-planner.md is run, in its order, and so is each test in it."""

from __future__ import annotations

import inspect
import re
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from swapcli.config import Source, load_sources, make_planner
from swapcore import FleetView, ModelId, SwapPlan

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-planner.md"
BLOCKS: list[tuple[str, str]] = re.findall(
    r"^```(\w+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
)
PYTHON = [text for language, text in BLOCKS if language == "python"]


def names_of_tests(block: str) -> list[str]:
    return re.findall(r"^(?:async )?def (test_\w+)", block, re.MULTILINE)


def is_planner(block: str) -> bool:
    return block.startswith("# my_planners.py\n")


TESTS = [(at, name) for at, block in enumerate(PYTHON) for name in names_of_tests(block)]


@pytest.mark.parametrize("whole_page", [False, True], ids=["where it stands", "in the end"])
@pytest.mark.parametrize(("at", "name"), TESTS)
@pytest.mark.rule("L179")
def test_each_test_on_the_page_passes(
    at: int, name: str, whole_page: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader types the planner's newest version into one file, and all tests so far into another."""
    blocks = PYTHON if whole_page else PYTHON[: at + 1]
    module = ModuleType("my_planners")
    monkeypatch.setitem(sys.modules, "my_planners", module)
    exec([block for block in blocks if is_planner(block)][-1], vars(module))
    names: dict[str, Any] = {"__name__": "test_my_planners"}
    exec("\n".join(block for block in blocks if not is_planner(block)), names)
    test = names[name]
    if inspect.iscoroutinefunction(test):
        clock = MockClock(autojump_threshold=0)
        trio.run(partial(test, autojump_clock=clock), clock=clock)
    else:
        test()


def test_the_page_has_blocks_of_these_kinds_only_and_the_planner_is_short() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "yaml"}
    assert len(TESTS) >= 6
    for block in PYTHON:
        if is_planner(block):
            code = [line for line in block.splitlines() if line.strip() and not line.startswith("#")]
            assert len(code) < 40


def test_the_configuration_on_the_page_finds_the_planner(tmp_path: Path) -> None:
    module = [block for block in PYTHON if is_planner(block)][-1]
    (tmp_path / "my_planners.py").write_text(module, "utf-8")
    (yaml,) = (text for language, text in BLOCKS if language == "yaml")
    planner = make_planner(load_sources([Source("config.yaml", yaml)], environ={}), tmp_path)
    qwen, llama = ModelId("qwen"), ModelId("llama")
    assert planner.evictions(llama, FleetView()) == SwapPlan((), "llama needs 16 GB")
    assert planner.evictions(qwen, FleetView(running=[qwen, llama])) == SwapPlan()
