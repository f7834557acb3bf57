"""Imports point inward: the pure ring knows no trio, the library no web, the CLI no private name of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PURE = {
    "_effects",
    "_errors",
    "_events",
    "_fleet",
    "_planner",
    "_raised",
    "_queue",
    "_restart",
    "_returns",
    "_alarms",
    "_asking",
    "_policy",
    "_scheduler",
    "_slot",
    "_spec",
    "_states",
    "_statistics",
    "_view",
}
PLANNERS = {path.stem for path in (ROOT / "swapcore" / "planners").glob("*.py")} - {"__init__"}
BASE = {"trio", "attrs"}
"""What an installation without extras has."""


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield (module, is it relative) for every import, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from ((name.name, False) for name in names)
            case ast.ImportFrom(module=module, level=level):
                yield module or "", level > 0
            case _:
                pass


def is_stdlib(module: str) -> bool:
    import sys

    return module.partition(".")[0] in sys.stdlib_module_names


CORE = sorted((ROOT / "swapcore").rglob("*.py"))
CLI = sorted((ROOT / "swapcli").rglob("*.py"))


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_imports_the_standard_library_trio_and_attrs_only(path: Path) -> None:
    for module, relative in imports(path):
        if relative:
            if path.stem in PURE | PLANNERS:
                assert module in PURE | PLANNERS, f"{path.stem} is pure; {module} is not"
            continue
        allowed = {"attrs"} if path.stem in PURE | PLANNERS else BASE
        assert is_stdlib(module) or module.partition(".")[0] in allowed, f"{path.name} imports {module}"


def test_the_pure_ring_is_where_this_file_says() -> None:
    assert {path.stem for path in CORE} >= PURE


@pytest.mark.parametrize("path", CLI, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_cli_uses_public_names_of_the_library_only(path: Path) -> None:
    for module, relative in imports(path):
        if not relative and module.partition(".")[0] == "swapcore":
            assert not any(part.startswith("_") for part in module.split(".")), (
                f"{path.name} imports {module}"
            )
