"""The ring of the virtual clock must stay quick, so that it may be run after every change.

All its tests together get `BUDGET` seconds of one processor. Processor time, as a busy machine adds
little to that.
"""

from __future__ import annotations

import time
from collections.abc import Generator

import attrs
import pytest

BUDGET = 5.0


@attrs.define(eq=False)
class Spent:
    """Seconds of processor time, by test."""

    by_test: dict[str, float] = attrs.field(factory=dict[str, float])

    @property
    def total(self) -> float:
        return sum(self.by_test.values())

    def __str__(self) -> str:
        dearest = sorted(self.by_test.items(), key=lambda entry: -entry[1])[:5]
        lines = "".join(f"\n  {seconds:.2f} s {test}" for test, seconds in dearest)
        return f"{self.total:.2f} s of {BUDGET:g} s; the dearest:{lines}"


@pytest.fixture(scope="session")
def spent() -> Spent:
    return Spent()


@pytest.fixture(autouse=True)
def _keep_to_the_budget(request: pytest.FixtureRequest, spent: Spent) -> Generator[None]:
    if request.path.parent.name != "clock":
        yield
        return
    began = time.process_time()
    yield
    spent.by_test[request.node.nodeid] = time.process_time() - began
    assert spent.total < BUDGET, str(spent)
