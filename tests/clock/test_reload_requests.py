"""Requests for a reload: those that come while one runs share one more, and everybody gets an answer."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from swapcli.config import Changes
from swapcli.reload import Applied, Outcome, Reloads
from swapcore import Closed

NOTHING = Changes((), (), (), (), (), ())


@attrs.define(eq=False)
class SlowReload:
    """Takes a second, and says in its outcome which one it was."""

    rounds: list[Sequence[str]] = attrs.field(factory=list[Sequence[str]])

    async def carry_out(self, reasons: Sequence[str]) -> Outcome:
        self.rounds.append(reasons)
        number = len(self.rounds)
        await trio.sleep(1)
        return Applied(attrs.evolve(NOTHING, added=(str(number),)), ())

    async def plan(self) -> Outcome:
        return Applied(NOTHING, (), dry_run=True)


@pytest.mark.rule("C129")
@pytest.mark.rule("L158")
async def test_requests_during_a_reload_become_one_more(autojump_clock: MockClock) -> None:
    reloads, slow, numbers = Reloads(), SlowReload(), list[str]()

    async def ask() -> None:
        outcome = await reloads.reload("post")
        assert isinstance(outcome, Applied)
        numbers.extend(outcome.changes.added)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloads.serve, slow.carry_out, slow.plan)
        await wait_all_tasks_blocked()
        reloads.request("SIGHUP")
        await trio.sleep(0.5)
        reloads.request("edited")
        async with trio.open_nursery() as asking:
            for _ in range(50):
                asking.start_soon(ask)
        assert trio.current_time() == pytest.approx(2)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert slow.rounds == [["SIGHUP"], ["edited", "post"]]
    assert numbers == ["2"] * 50, "an outcome of what was read before they asked"


async def test_a_request_that_came_before_anybody_served_is_not_lost(autojump_clock: MockClock) -> None:
    reloads, slow = Reloads(), SlowReload()
    reloads.request("SIGHUP")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloads.serve, slow.carry_out, slow.plan)
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert slow.rounds == [["SIGHUP"]]


async def test_a_dry_run_waits_for_nobody(autojump_clock: MockClock) -> None:
    reloads, slow = Reloads(), SlowReload()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloads.serve, slow.carry_out, slow.plan)
        await wait_all_tasks_blocked()
        reloads.request("SIGHUP")
        outcome = await reloads.reload("post", dry_run=True)
        assert outcome.dry_run
        assert trio.current_time() == 0
        nursery.cancel_scope.cancel()


@pytest.mark.rule("G16")
async def test_who_waits_when_the_server_stops_is_told_so(autojump_clock: MockClock) -> None:
    reloads, slow, closed = Reloads(), SlowReload(), 0

    async def ask() -> None:
        nonlocal closed
        with pytest.raises(Closed):
            await reloads.reload("post")
        closed += 1

    async with trio.open_nursery() as asking:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reloads.serve, slow.carry_out, slow.plan)
            await wait_all_tasks_blocked()
            asking.start_soon(ask)
            await trio.sleep(0.5)
            asking.start_soon(ask)  # this one is for the next round
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert closed == 2
    with pytest.raises(Closed):
        await reloads.reload("post")


async def test_whoever_stops_waiting_stops_no_reload(autojump_clock: MockClock) -> None:
    reloads, slow = Reloads(), SlowReload()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloads.serve, slow.carry_out, slow.plan)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0.1):
            await reloads.reload("post")
        reloads.request("again")
        await trio.sleep(2.5)
        nursery.cancel_scope.cancel()
    assert len(slow.rounds) == 2


async def test_a_dry_run_does_not_hold_up_the_end(autojump_clock: MockClock) -> None:
    reloads, slow = Reloads(), SlowReload()
    async with trio.open_nursery() as asking, trio.open_nursery() as nursery:
        nursery.start_soon(reloads.serve, slow.carry_out, trio.sleep_forever)
        await wait_all_tasks_blocked()

        async def ask() -> None:
            with pytest.raises(Closed):
                await reloads.reload("post", dry_run=True)

        asking.start_soon(ask)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
