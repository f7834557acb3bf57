"""A planner that keeps models together as long as they fit into a budget of gigabytes, and its tests.

Run it: ``pytest examples/custom_planner.py``
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from trio.testing import MockClock

from swapcore import FleetView, ModelId, ModelSpec, ProcState, Refusal, SwapPlan, SwapPlanner, open_supervisor
from swapcore.testing import FakeServers


@attrs.frozen
class BudgetPlanner(SwapPlanner):
    """Evicts the longest running models first, until the target fits."""

    gigabytes: Mapping[ModelId, float]
    limit: float

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan | Refusal:
        needed = self.gigabytes[target]
        if needed > self.limit:
            return Refusal(f"{target} needs {needed:g} GB and there are only {self.limit:g}")
        others = [model for model in view.running if model != target]
        evict: list[ModelId] = []
        while needed + sum(self.gigabytes[model] for model in others) > self.limit:
            evict.append(others.pop(0))
        return SwapPlan(tuple(evict), reason=f"{target} needs {needed:g} of {self.limit:g} GB")


A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
PLANNER = BudgetPlanner({A: 8, B: 8, C: 8}, limit=16)


def test_the_oldest_goes() -> None:
    assert PLANNER.evictions(C, FleetView(running=[A, B])) == SwapPlan((A,), "c needs 8 of 16 GB")


async def test_two_fit_and_the_third_takes_the_place_of_the_first(autojump_clock: MockClock) -> None:
    specs = [ModelSpec(model) for model in (A, B, C)]
    async with open_supervisor(specs, planner=PLANNER, launch=FakeServers()) as supervisor:
        for model in (A, B, C):
            await supervisor.load(model)
        states = {model: supervisor.state_of(model) for model in (A, B, C)}
    assert states == {A: ProcState.STOPPED, B: ProcState.READY, C: ProcState.READY}
