"""Says at the end of a run which numbered rules it held the program to.

What this program keeps of llama-swap's behaviour, and what it sets itself as targets, is numbered: H for
HTTP, L for lifecycle, C for configuration, G for targets. A test names its rules by the marker ``rule``, or
in its own name (``test_h27_...``). In a run of many processes the workers collect, and tell the one that
reports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

HOW_MANY = {"H": 224, "L": 186, "C": 145, "G": 45}
RULES: pytest.StashKey[set[str]] = pytest.StashKey()

_IN_A_NAME = re.compile(r"_([hlcg])(\d{1,3})(?![0-9a-z])")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--missing-rules",
        action="store_true",
        help="name the rules that no test of this run names",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RULES] = set()


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[RULES] |= {rule for item in session.items for rule in rules_of(item)}


def pytest_sessionfinish(session: pytest.Session) -> None:
    told: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if told is not None:
        rules = session.config.stash[RULES]
        told["rules"] = sorted(rules)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear a worker of pytest-xdist out; one that crashed has nothing to tell."""
    told: dict[str, Any] = getattr(node, "workeroutput", {})
    config: pytest.Config = node.config
    config.stash[RULES].update(told.get("rules", []))


def rules_of(item: pytest.Item) -> Iterator[str]:
    for letter, number in _IN_A_NAME.findall(item.name.partition("[")[0]):
        yield f"{letter.upper()}{int(number)}"
    for marker in item.iter_markers("rule"):
        yield from marker.args


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    seen = config.stash[RULES]
    if not seen:
        return
    counts = [f"{letter} {len(numbers(seen, letter))} of {most}" for letter, most in HOW_MANY.items()]
    terminalreporter.write_line(f"rules with a test: {', '.join(counts)}")
    if config.getoption("--missing-rules"):
        for letter, most in HOW_MANY.items():
            missing = sorted(set(range(1, most + 1)) - numbers(seen, letter))
            terminalreporter.write_line(f"without: {' '.join(f'{letter}{number}' for number in missing)}")


def numbers(rules: Iterable[str], letter: str) -> set[int]:
    return {int(rule[1:]) for rule in rules if rule.startswith(letter)}
