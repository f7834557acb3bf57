"""The public names: complete, and each of them documented."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import swapcore
import swapcore.testing

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference" / "swapcore.md"


def public_names(module: object) -> set[str]:
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }


TESTING = {"FakeCrash", "FakeServers", "Livelock"}


def test_each_name_is_re_exported_on_purpose() -> None:
    source = (ROOT / "swapcore" / "__init__.py").read_text(encoding="utf-8")
    assert public_names(swapcore) - {"testing"} == {
        b for a, b in re.findall(r"(\w+) as (\w+)", source) if a == b
    }


@pytest.mark.parametrize("name", sorted(public_names(swapcore)))
def test_each_name_has_a_docstring_and_a_place_in_the_reference(name: str) -> None:
    value = getattr(swapcore, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        assert inspect.getdoc(value)
    assert f"### `{name}" in REFERENCE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(TESTING))
def test_each_fake_has_a_docstring_and_a_place_in_the_reference(name: str) -> None:
    assert inspect.getdoc(getattr(swapcore.testing, name))
    assert f"### `{name}" in REFERENCE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", [name for name in vars(swapcore.Supervisor) if not name.startswith("_") and name != "loop"]
)
def test_each_method_of_the_supervisor_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(swapcore.Supervisor, name))
    assert f"#### `{name}" in REFERENCE.read_text(encoding="utf-8")
