"""What is counted and measured of each model, and how long it is remembered."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import swapcore
from swapcore import ModelId, ModelSpec, ProcState
from swapcore.testing import FakeServers

A, B = ModelId("a"), ModelId("b")
SPECS = [ModelSpec(A), ModelSpec(B)]


async def test_what_starts_stops_and_leases_took_is_measured(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 8}, stop_seconds=2)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        unknown = supervisor.statistics().models[A]
        assert (unknown.load_seconds, unknown.stop_seconds, unknown.lease_seconds) == (None, None, None)
        async with supervisor.lease(A):
            await trio.sleep(5)
        await supervisor.load(B)
        measured = supervisor.statistics().models[A]
        assert (measured.load_seconds, measured.stop_seconds, measured.lease_seconds) == (8, 2, 5)
        assert (measured.state, measured.starts, measured.granted) == (ProcState.STOPPED, 1, 1)


async def test_crashes_are_counted(autojump_clock: MockClock) -> None:
    async with swapcore.open_supervisor(SPECS, launch=FakeServers(crash_after={A: 4})) as supervisor:
        for _ in range(2):
            async with supervisor.lease(A):
                await trio.sleep(10)
        counted = supervisor.statistics().models[A]
        assert (counted.starts, counted.granted, counted.crashes) == (2, 2, 2)


async def test_the_counters_of_a_model_survive_a_change_of_its_configuration(
    autojump_clock: MockClock,
) -> None:
    async with swapcore.open_supervisor(SPECS, launch=FakeServers()) as supervisor:
        async with supervisor.lease(A):
            pass
        await supervisor.reconfigure([ModelSpec(A, ("other",)), ModelSpec(B)])
        await wait_all_tasks_blocked()
        async with supervisor.lease(A):
            pass
        counted = supervisor.statistics().models[A]
        assert (counted.starts, counted.granted) == (2, 2)
