"""A policy that is replaced while callers wait holds for them, too."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

import swapcore
from swapcore import ModelId, ModelSpec, SchedulingPolicy
from swapcore.testing import FakeServers

A, B = ModelId("a"), ModelId("b")
SPECS = [ModelSpec(A), ModelSpec(B)]


async def test_a_shorter_wait_is_in_force_for_who_waits_already(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 0, B: 0}, stop_seconds=0)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor, trio.open_nursery() as nursery:

        async def hold() -> None:
            async with supervisor.lease(A):
                await trio.sleep(1000)

        nursery.start_soon(hold)
        await trio.sleep(5)
        nursery.start_soon(supervisor.load, B)
        await trio.sleep(5)
        await supervisor.reconfigure(SPECS, policy=SchedulingPolicy(max_wait=20, max_drain=1))
        await supervisor.load(B)
        assert trio.current_time() == pytest.approx(5 + 20 + 1)
        nursery.cancel_scope.cancel()


async def test_without_a_policy_the_old_one_stays(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 0, B: 0}, stop_seconds=0)
    policy = SchedulingPolicy(max_wait=7, max_drain=1)
    async with (
        swapcore.open_supervisor(SPECS, launch=servers, policy=policy) as supervisor,
        supervisor.lease(A),
    ):
        await supervisor.reconfigure(SPECS)
        started = trio.current_time()
        await supervisor.load(B)
        assert trio.current_time() - started == pytest.approx(8)
