"""Preloading: in order, side by side where that may be, and one that fails holds up nobody."""

from __future__ import annotations

import logging

import pytest
import trio
from observed import spawns
from trio.testing import MockClock

import swapcore
from swapcli._preload import preload
from swapcore import FleetView, ModelId, ModelSpec, ProcState, SwapPlan, SwapPlanner
from swapcore.testing import FakeServers

MODELS = [ModelId(name) for name in "abcd"]
SPECS = [ModelSpec(model) for model in MODELS]
pytestmark = [pytest.mark.rule("G40"), pytest.mark.rule("L133"), pytest.mark.rule("L134")]


class Together(SwapPlanner):
    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        return SwapPlan()


@pytest.mark.rule("L133", "L134")
async def test_models_that_may_run_together_load_at_the_same_time(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "swapcli")
    servers, done = FakeServers(load_seconds=dict.fromkeys(MODELS, 10)), dict[str, bool]()
    async with swapcore.open_supervisor(SPECS, planner=Together(), launch=servers) as supervisor:
        await preload(supervisor, MODELS, done=done.__setitem__)
        assert trio.current_time() == pytest.approx(10)
        assert all(supervisor.state_of(model) is ProcState.READY for model in MODELS)
    assert done == dict.fromkeys(MODELS, True)
    lines = [record.message for record in caplog.records if record.name == "swapcli"]
    assert lines[0] == "preloading a, b, c, d"
    assert sorted(lines[1:]) == [f"preloaded {model} in 10.0 s" for model in MODELS]


@pytest.mark.rule("L134")
async def test_models_that_exclude_each_other_load_in_order(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds=dict.fromkeys(MODELS, 10), stop_seconds=0)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await preload(supervisor, MODELS)
        assert supervisor.state_of(MODELS[-1]) is ProcState.READY
    assert spawns(servers) == MODELS


@pytest.mark.rule("L134")
async def test_a_model_that_cannot_start_holds_up_no_other(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    servers, done = FakeServers(crash_after={MODELS[0]: 0.5}), dict[str, bool]()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await preload(supervisor, MODELS[:2], done=done.__setitem__)
    assert done == {"a": False, "b": True}
    assert [r.levelname for r in caplog.records if r.message.startswith("cannot preload: a")] == ["WARNING"]


@pytest.mark.rule("L135")
async def test_the_end_of_the_server_ends_a_preload_without_a_word(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    servers = FakeServers(load_seconds={MODELS[0]: 100})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(preload, supervisor, MODELS)
            await trio.sleep(5)
            supervisor.close()
        assert trio.current_time() == pytest.approx(5)
    assert spawns(servers) == MODELS[:1]
    assert not [record for record in caplog.records if "cannot preload" in record.message]
