"""Callers of a supervisor, and a planner that lets everybody have a model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from swapcore import FleetView, ModelId, Supervisor, SwapPlan, SwapPlanner


class Together(SwapPlanner):
    """Everything may run beside everything."""

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        return SwapPlan()


async def use(
    supervisor: Supervisor, model: ModelId, seconds: float, note: Callable[[str], object] = str
) -> None:
    """Use a model for that long."""
    async with supervisor.lease(model):
        note(model)
        await trio.sleep(seconds)


async def use_later(seconds: float, supervisor: Supervisor, model: ModelId) -> None:
    """Come after so many seconds, and stay."""
    await trio.sleep(seconds)
    await use(supervisor, model, 1000)


async def meet_error(error: type[Exception], supervisor: Supervisor, model: ModelId) -> None:
    """Ask for a model that cannot be had."""
    with pytest.raises(error):
        await supervisor.load(model)
