"""The ring of the virtual clock must stay quick, so that it may be run after every change.

All its tests together get `BUDGET` seconds of one processor. Processor time, as a busy machine adds
little to that, and less of it where processors are slow (see `slowness`). What each test took travels with
its report, so it counts in whichever process it ran.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from functools import lru_cache

import pytest
from time_taken import slowness

BUDGET = 5.0
PROPERTY = "processor seconds of the virtual clock"
SPENT: pytest.StashKey[dict[str, float]] = pytest.StashKey()
"""Seconds of processor time, by test."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SPENT] = {}
    config.pluginmanager.register(_Reports(config.stash[SPENT]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    began = time.process_time()
    try:
        yield
    finally:
        if item.path.parent.name == "clock":
            spent = (time.process_time() - began) / _slowness_in(int(time.monotonic()))
            item.user_properties.append((PROPERTY, spent))


@lru_cache(maxsize=1)
def _slowness_in(second: int) -> float:
    """Asked once in each second, as that takes a while itself."""
    return slowness()


class _Reports:
    """Adds up what the reports say, here or in the process that the workers report to."""

    def __init__(self, spent: dict[str, float]) -> None:
        self._spent = spent

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            for name, seconds in report.user_properties:
                if name == PROPERTY:
                    self._spent[report.nodeid] = float(str(seconds))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if sum(self._spent.values()) >= BUDGET:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    spent = config.stash[SPENT]
    total = sum(spent.values())
    if total < BUDGET:
        return
    say = terminalreporter.write_line
    say(f"the tests with a virtual clock took {total:.2f} s of {BUDGET:g} s; the dearest:")
    for test, seconds in sorted(spent.items(), key=lambda entry: -entry[1])[:5]:
        say(f"  {seconds:.2f} s {test}")
