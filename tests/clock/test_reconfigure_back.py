"""A configuration that is changed back, or changed again, while the first change is still under way."""

from __future__ import annotations

import trio
from observed import spawns
from trio.testing import MockClock, wait_all_tasks_blocked

import swapcore
from swapcore import ModelId, ModelSpec, ProcState, StateChanged, Supervisor
from swapcore.testing import FakeServers, recorded_events

A, B = ModelId("a"), ModelId("b")
SPECS = [ModelSpec(A), ModelSpec(B)]
CHANGED = [ModelSpec(A, ("other",)), ModelSpec(B)]


async def is_let_in_at_once(supervisor: Supervisor) -> bool:
    asked = trio.current_time()
    async with supervisor.lease(A):
        return trio.current_time() == asked


async def test_a_model_taken_out_and_put_back_keeps_running(autojump_clock: MockClock) -> None:
    servers = FakeServers()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        async with supervisor.lease(A):
            await supervisor.reconfigure([SPECS[1]], drain_limit=5)
            await supervisor.reconfigure(SPECS)
            assert await is_let_in_at_once(supervisor)
            await trio.sleep(10)
            assert supervisor.state_of(A) is ProcState.READY, "the limit of the drain went with the drain"
        await wait_all_tasks_blocked(0.01)
        assert supervisor.state_of(A) is ProcState.READY
    assert spawns(servers) == ["a"]


async def test_a_model_changed_and_changed_back_keeps_running(autojump_clock: MockClock) -> None:
    servers = FakeServers()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        async with supervisor.lease(A):
            await supervisor.reconfigure(CHANGED)
            await supervisor.reconfigure(SPECS)
            assert await is_let_in_at_once(supervisor)
        await wait_all_tasks_blocked(0.01)
        assert supervisor.state_of(A) is ProcState.READY
    assert spawns(servers) == ["a"]


async def test_who_waits_for_the_changed_model_is_let_in_when_it_is_changed_back(
    autojump_clock: MockClock,
) -> None:
    async with swapcore.open_supervisor(SPECS, launch=FakeServers()) as supervisor:
        async with supervisor.lease(A), trio.open_nursery() as nursery:
            await supervisor.reconfigure(CHANGED)
            nursery.start_soon(supervisor.load, A)
            await trio.sleep(1)
            assert supervisor.statistics().models[A].waiting == 1
            await supervisor.reconfigure(SPECS)
            with trio.fail_after(1):
                while supervisor.statistics().models[A].waiting:
                    await trio.lowlevel.checkpoint()


async def test_a_model_that_was_told_to_go_goes_whatever_the_configuration_says(
    autojump_clock: MockClock,
) -> None:
    async with swapcore.open_supervisor(SPECS, launch=FakeServers()) as supervisor:
        async with trio.open_nursery() as nursery:
            async with supervisor.lease(A):
                nursery.start_soon(lambda: supervisor.unload(A, drain=True))
                await wait_all_tasks_blocked(0.01)
                await supervisor.reconfigure(CHANGED)
                await supervisor.reconfigure(SPECS)
        assert supervisor.state_of(A) is ProcState.STOPPED


async def test_the_process_counts_not_the_last_configuration(autojump_clock: MockClock) -> None:
    """Two changes in a row: the second leaves the text of the first as it is, and the process is older."""
    servers = FakeServers()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        async with supervisor.lease(A):
            await supervisor.reconfigure(CHANGED)
            await supervisor.reconfigure(CHANGED)
        await supervisor.load(A)
    assert spawns(servers) == ["a", "a"]


async def test_unloading_all_ends_what_is_configured_no_more_too(autojump_clock: MockClock) -> None:
    async with (
        swapcore.open_supervisor(SPECS, launch=FakeServers()) as supervisor,
        trio.open_nursery() as nursery,
    ):

        async def hold() -> None:
            async with supervisor.lease(A):
                await trio.sleep_forever()

        nursery.start_soon(hold)
        await trio.sleep(5)
        await supervisor.reconfigure([SPECS[1]])
        with recorded_events(supervisor) as events:
            await supervisor.unload()
            assert [event.after for event in events if isinstance(event, StateChanged)] == [
                ProcState.STOPPING,
                ProcState.STOPPED,
            ]
        nursery.cancel_scope.cancel()
