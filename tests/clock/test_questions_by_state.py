"""What may be asked of a supervisor about one model, in each state in which it may be heard."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from observed import changes, now, spawns
from trio.testing import MockClock, wait_all_tasks_blocked

import swapcore
from swapcore import ModelId, ModelSpec, ProcState, Supervisor
from swapcore.testing import FakeServers, recorded_events

A, B = ModelId("a"), ModelId("b")
SPECS = [ModelSpec(A), ModelSpec(B)]


async def _outcome(supervisor: Supervisor, model: ModelId, into: list[tuple[float, str]]) -> None:
    try:
        await supervisor.load(model)
        into.append((now(), "served"))
    except swapcore.SwapcoreError as error:
        into.append((now(), type(error).__name__))


async def _bring_to(supervisor: Supervisor, state: ProcState, nursery: trio.Nursery) -> None:
    """Loads take 10 s and stops 5 s; it is then 2 s into what it is brought to."""
    if state is not ProcState.STOPPED:
        nursery.start_soon(_outcome, supervisor, A, [])
        await trio.sleep(2)
    if state in (ProcState.READY, ProcState.STOPPING):
        await trio.sleep(10)
    if state is ProcState.STOPPING:
        nursery.start_soon(supervisor.unload, A)
        await trio.sleep(2)
    assert supervisor.state_of(A) is state


@pytest.mark.rule("L30")
@pytest.mark.parametrize(
    ("state", "takes", "starts"),
    [
        (ProcState.STOPPED, 10, 1),
        (ProcState.STARTING, 10 - 2, 0),
        (ProcState.READY, 0, 0),
        (ProcState.STOPPING, 5 - 2 + 10, 1),
    ],
)
async def test_a_load_in_each_state(
    autojump_clock: MockClock, state: ProcState, takes: float, starts: int
) -> None:
    servers = FakeServers({A: 10}, stop_seconds=5)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor, trio.open_nursery() as nursery:
        await _bring_to(supervisor, state, nursery)
        asked, before = trio.current_time(), len(spawns(servers))
        async with supervisor.lease(A):
            assert trio.current_time() - asked == pytest.approx(takes)
            assert supervisor.state_of(A) is ProcState.READY
        assert len(spawns(servers)) - before == starts


@pytest.mark.rule("L30", "L28")
@pytest.mark.parametrize(
    ("state", "takes"),
    [
        (ProcState.STOPPED, 0),
        (ProcState.STARTING, 5),
        (ProcState.READY, 5),
        (ProcState.STOPPING, 5 - 2),
    ],
)
async def test_an_unload_in_each_state(autojump_clock: MockClock, state: ProcState, takes: float) -> None:
    servers = FakeServers({A: 10}, stop_seconds=5)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor, trio.open_nursery() as nursery:
        await _bring_to(supervisor, state, nursery)
        asked = trio.current_time()
        with recorded_events(supervisor) as events:
            await supervisor.unload(A)
        assert trio.current_time() - asked == pytest.approx(takes)
        assert supervisor.state_of(A) is ProcState.STOPPED
        assert len(changes(events)) == {ProcState.STOPPED: 0, ProcState.STOPPING: 1}.get(state, 2)


@pytest.mark.rule("L30", "L44")
@pytest.mark.parametrize("state", ProcState)
async def test_once_it_is_over_every_question_is_refused_whatever_the_state_was(
    autojump_clock: MockClock, state: ProcState
) -> None:
    servers = FakeServers({A: 10}, stop_seconds=5)
    async with trio.open_nursery() as nursery:
        async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
            await _bring_to(supervisor, state, nursery)
        assert servers.alive == set()
        for question in (supervisor.load, supervisor.unload, partial(supervisor.reconfigure, SPECS)):
            with pytest.raises(swapcore.Closed), trio.fail_after(1):
                await question(*() if isinstance(question, partial) else (A,))


@pytest.mark.rule("L33")
async def test_a_load_and_an_unload_in_the_same_tick_are_heard_in_their_order(
    autojump_clock: MockClock,
) -> None:
    servers = FakeServers(stop_seconds=1)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await supervisor.load(A)
        async with trio.open_nursery() as nursery:
            outcomes = list[tuple[float, str]]()
            nursery.start_soon(supervisor.unload, A)
            await trio.lowlevel.checkpoint()
            assert supervisor.state_of(A) in (ProcState.READY, ProcState.STOPPING)
            nursery.start_soon(_outcome, supervisor, A, outcomes)
        await wait_all_tasks_blocked()
        assert outcomes == [(1 + 1 + 1, "served")], "by a fresh process, not by the dying one"
        assert supervisor.state_of(A) is ProcState.READY
    assert spawns(servers) == [A, A]
