"""What a run of the tests says at its end, in one process and in several."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

RING = """
import time
import pytest

@pytest.mark.rule("H27")
@pytest.mark.parametrize("round", range(4))
def test_l3_is_kept(round):
    began = time.process_time()
    while time.process_time() - began < {seconds}:
        pass
"""


def run(folder: Path, seconds: float, budget: float, *options: str) -> subprocess.CompletedProcess[str]:
    """Run four tests that work for *seconds* each, as tests with a virtual clock that may take *budget*."""
    (folder / "clock").mkdir()
    (folder / "clock" / "test_ring.py").write_text(RING.format(seconds=seconds))
    (folder / "conftest.py").write_text(
        f"import clock_budget\nclock_budget.BUDGET = {budget}\n"
        "pytest_plugins = ['clock_budget', 'rule_report']\n"
    )
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = rule(name)\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--missing-rules", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=50,
    )


@pytest.mark.rule("G44")
@pytest.mark.parametrize("options", [("-p", "no:xdist"), ("-n", "2", "--dist", "load")])
def test_the_rules_are_counted_and_the_budget_is_kept(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run(tmp_path, 0.1, 0.02, *options)
    assert "rules with a test: H 1 of 224, L 1 of 186, C 0 of 145, G 0 of 45" in done.stdout
    assert "without: H1 H2" in done.stdout
    assert "H26 H28" in done.stdout
    assert "4 passed" in done.stdout
    dearest = re.findall(r"^  (\d\.\d\d) s clock/test_ring.py::test_l3_is_kept", done.stdout, re.MULTILINE)
    assert len(dearest) == 4, "all of them, wherever they ran"
    told = re.search(r"the tests with a virtual clock took (\d\.\d\d) s of 0.02 s", done.stdout)
    assert told is not None
    assert float(told[1]) == pytest.approx(sum(map(float, dearest)), abs=0.03)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


def test_a_run_within_the_budget_says_nothing_of_it(tmp_path: Path) -> None:
    done = run(tmp_path, 0.01, 0.2, "-p", "no:xdist")
    assert "4 passed" in done.stdout
    assert "virtual clock" not in done.stdout
    assert done.returncode == 0
