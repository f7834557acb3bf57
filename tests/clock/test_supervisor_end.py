"""Nobody waits for a supervisor that has ended, however it ended and whenever they asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import swapcore
from swapcore import Event, ModelId, ModelSpec, StateChanged, Supervisor
from swapcore.testing import FakeServers

A, B = ModelId("a"), ModelId("b")
SPECS = [ModelSpec(A), ModelSpec(B)]
LONGER_THAN_ANYTHING = 10_000  # on the virtual clock: whoever waits for ever fails at once

Question = Callable[[Supervisor], Awaitable[None]]


async def lease(supervisor: Supervisor) -> None:
    async with supervisor.lease(B):
        pass


async def unload(supervisor: Supervisor) -> None:
    await supervisor.unload(A)


async def reconfigure(supervisor: Supervisor) -> None:
    await supervisor.reconfigure([])


async def wait_idle(supervisor: Supervisor) -> None:
    await supervisor.wait_idle()


async def watch(supervisor: Supervisor) -> None:
    async with supervisor.events() as events:
        async for _ in events:
            pass


QUESTIONS = [lease, unload, reconfigure, wait_idle, watch]


@asynccontextmanager
async def supervisor_elsewhere(end: trio.Event) -> AsyncGenerator[tuple[Supervisor, trio.CancelScope]]:
    """A supervisor in a task of its own, so that others outlive it. It is left when *end* is set."""

    async def run(*, task_status: trio.TaskStatus[tuple[Supervisor, trio.CancelScope]]) -> None:
        with trio.CancelScope() as scope:
            async with swapcore.open_supervisor(SPECS, launch=FakeServers(stop_seconds=0.3)) as supervisor:
                task_status.started((supervisor, scope))
                await end.wait()

    with trio.fail_after(LONGER_THAN_ANYTHING):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(run)
            nursery.cancel_scope.cancel()


async def is_answered(question: Question, supervisor: Supervisor) -> None:
    with trio.fail_after(LONGER_THAN_ANYTHING):
        with suppress(swapcore.Closed):
            await question(supervisor)


@pytest.mark.parametrize("question", QUESTIONS)
async def test_who_asks_in_the_tick_in_which_the_supervisor_ends_is_answered(
    autojump_clock: MockClock, question: Question
) -> None:
    async with trio.open_nursery() as nursery, swapcore.open_supervisor(SPECS, launch=FakeServers()) as it:
        for _ in range(10):
            nursery.start_soon(is_answered, question, it)


@pytest.mark.parametrize("question", QUESTIONS)
async def test_who_waits_when_the_supervisor_is_cancelled_is_answered(
    autojump_clock: MockClock, question: Question
) -> None:
    async with supervisor_elsewhere(trio.Event()) as (supervisor, scope), trio.open_nursery() as nursery:
        await supervisor.load(A)
        nursery.start_soon(is_answered, question, supervisor)
        await wait_all_tasks_blocked(0.01)
        scope.cancel()


@pytest.mark.parametrize("question", QUESTIONS)
async def test_who_asks_in_the_tick_in_which_the_supervisor_is_cancelled_is_answered(
    autojump_clock: MockClock, question: Question
) -> None:
    async with supervisor_elsewhere(trio.Event()) as (supervisor, scope):
        await supervisor.load(A)
        scope.cancel()
        await is_answered(question, supervisor)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("checkpoints", range(0, 40, 3))
async def test_who_asks_while_the_last_process_leaves_is_answered(
    autojump_clock: MockClock, question: Question, checkpoints: int
) -> None:
    end = trio.Event()
    async with supervisor_elsewhere(end) as (supervisor, _):
        await supervisor.load(A)
        end.set()
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
        await is_answered(question, supervisor)


async def test_a_lease_held_elsewhere_does_not_keep_wait_idle_waiting_for_what_is_over(
    autojump_clock: MockClock,
) -> None:
    end, let_go = trio.Event(), trio.Event()

    async def hold(supervisor: Supervisor, *, task_status: trio.TaskStatus[None]) -> None:
        async with supervisor.lease(A):
            task_status.started()
            await let_go.wait()

    async with supervisor_elsewhere(end) as (supervisor, _), trio.open_nursery() as nursery:
        await nursery.start(hold, supervisor)
        nursery.start_soon(is_answered, wait_idle, supervisor)
        await wait_all_tasks_blocked(0.01)
        end.set()
        await trio.sleep(1)
        assert len(nursery.child_tasks) == 1, "the holder; wait_idle has been answered"
        let_go.set()


async def test_the_feed_gets_to_the_last_event_and_ends(autojump_clock: MockClock) -> None:
    end, seen = trio.Event(), list[Event]()

    async def follow(supervisor: Supervisor) -> None:
        async with supervisor.events() as events:
            async for event in events:
                seen.append(event)

    async with supervisor_elsewhere(end) as (supervisor, _), trio.open_nursery() as nursery:
        nursery.start_soon(follow, supervisor)
        await wait_all_tasks_blocked(0.01)
        await supervisor.load(A)
        end.set()
    assert [e.after.value for e in seen if isinstance(e, StateChanged)] == [
        "starting",
        "ready",
        "stopping",
        "stopped",
    ]
