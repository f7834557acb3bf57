"""A process that is there although it was killed: nothing starts beside it, and nobody waits for its end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import attrs
import pytest
import trio
from observed import spawns
from trio.testing import MockClock

import swapcore
from swapcore import (
    Endpoint,
    ModelId,
    ModelSpec,
    ProcState,
    RestartPolicy,
    RestartWhen,
    StillAlive,
    Supervisor,
)
from swapcore.planners import LruPlanner
from swapcore.testing import FakeServers

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
SPECS = [ModelSpec(A), ModelSpec(B), ModelSpec(C)]


@attrs.define(eq=False)
class Undead(FakeServers):
    """The process of a stays after it was killed, until it is let go."""

    let_go: trio.Event = attrs.field(factory=trio.Event)

    async def __call__(self, spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        try:
            await super().__call__(spec, task_status=task_status)
        finally:
            if spec.id == A and not self.let_go.is_set():
                self.alive.add(A)
                raise StillAlive(A, "still alive after SIGKILL", self.wait_gone)

    async def wait_gone(self) -> None:
        await self.let_go.wait()
        self.alive.discard(A)


async def refusal(supervisor: Supervisor, model: ModelId, after: float = 0) -> str:
    """Ask for *model*, be turned away *after* that many seconds, and return why."""
    asked = trio.current_time()
    with pytest.raises(swapcore.StartFailed) as caught:
        await supervisor.load(model)
    assert trio.current_time() - asked == pytest.approx(after)
    assert caught.value.model == model
    return caught.value.reason


WHY = "the process of a is in the way, and cannot be ended: still alive after SIGKILL"


@pytest.mark.rule("G19")
async def test_who_waits_for_its_room_is_told_and_may_try_again(autojump_clock: MockClock) -> None:
    servers = Undead(stop_seconds=15)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await supervisor.load(A)
        reasons: list[str] = []

        async def ask(model: ModelId, after: float) -> None:
            reasons.append(await refusal(supervisor, model, after))

        async with trio.open_nursery() as nursery:
            for model in (B, B, C, A):  # a too: it is stopping by the time it is asked for
                nursery.start_soon(ask, model, 15)
                await trio.testing.wait_all_tasks_blocked()
        assert sorted(reasons) == [
            "its process is in the way, and cannot be ended: still alive after SIGKILL",
            WHY,
            WHY,
            WHY,
        ]
        assert supervisor.state_of(A) is ProcState.STOPPING
        assert await refusal(supervisor, B) == WHY, "at once, and not a back-off: b has done nothing wrong"
        servers.let_go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert supervisor.state_of(A) is ProcState.STOPPED
        await supervisor.load(B)
        await supervisor.load(A)
    assert spawns(servers) == [A, B, A]


async def test_a_caller_whose_model_fits_beside_it_is_served(autojump_clock: MockClock) -> None:
    servers = Undead()
    async with swapcore.open_supervisor(SPECS, planner=LruPlanner(2), launch=servers) as supervisor:
        await supervisor.load(A)
        await supervisor.load(B)
        await refusal(supervisor, C)
        await supervisor.load(C)  # b makes room: nobody gets the place of a
        assert servers.alive == {A, C}
        servers.let_go.set()


async def test_unloading_it_says_that_it_is_still_there(autojump_clock: MockClock) -> None:
    servers = Undead(stop_seconds=3)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await supervisor.load(A)
        for seconds in (3, 0):
            asked = trio.current_time()
            with pytest.raises(StillAlive, match="a: still alive after SIGKILL"):
                await supervisor.unload()
            assert trio.current_time() - asked == pytest.approx(seconds)
        servers.let_go.set()
        await trio.testing.wait_all_tasks_blocked()
        await supervisor.unload()


async def test_it_does_not_keep_the_supervisor_from_ending(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    servers = Undead(stop_seconds=3)
    with trio.fail_after(10):
        async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
            await supervisor.load(A)
    assert trio.current_time() == pytest.approx(1 + 3)
    assert "a: still alive after SIGKILL" in caplog.text


async def test_two_of_them_do_not_keep_it_from_ending_either(autojump_clock: MockClock) -> None:
    class AllUndead(FakeServers):
        async def __call__(self, spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
            try:
                await super().__call__(spec, task_status=task_status)
            finally:
                raise StillAlive(spec.id, "still alive after SIGKILL", trio.sleep_forever)

    with trio.fail_after(10):
        async with swapcore.open_supervisor(SPECS, planner=LruPlanner(2), launch=AllUndead()) as supervisor:
            await supervisor.load(A)
            await supervisor.load(B)


@pytest.mark.parametrize("seconds", [0.5, 5.0], ids=["before it is ready", "after"])
async def test_what_a_crashed_process_left_behind_keeps_its_room(
    autojump_clock: MockClock, seconds: float
) -> None:
    always = RestartPolicy(when=RestartWhen.ALWAYS)
    servers = Undead(crash_after={A: seconds})
    async with swapcore.open_supervisor(
        [ModelSpec(A, restart=always), *SPECS[1:]], launch=servers
    ) as supervisor:
        if seconds < 1:
            with pytest.raises(swapcore.StartFailed, match="a: still alive after SIGKILL"):
                await supervisor.load(A)
        else:
            async with supervisor.lease(A):
                await trio.sleep(seconds)
        assert supervisor.state_of(A) is ProcState.STOPPING
        await refusal(supervisor, B)
        await trio.sleep(100)
        assert supervisor.state_of(A) is ProcState.STOPPING
        servers.crash_after = {}
        servers.let_go.set()
        await trio.sleep(2)
        assert supervisor.state_of(A) is ProcState.READY, "its policy is that it always comes back"


async def test_nobody_can_tell_whether_it_has_gone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Blind(Undead):
        async def wait_gone(self) -> None:
            raise OSError("no /proc")

    async with swapcore.open_supervisor(SPECS, launch=Blind()) as supervisor:
        await supervisor.load(A)
        await refusal(supervisor, B)
        await supervisor.load(B)
    assert "a: nobody can tell whether it has gone; taken for gone" in caplog.text


async def test_a_pin_that_refuses_one_waiting_model_refuses_the_others(autojump_clock: MockClock) -> None:
    refused: set[str] = set()

    async def ask(supervisor: Supervisor, model: ModelId) -> None:
        with pytest.raises(swapcore.Pinned):
            await supervisor.load(model)
        refused.add(model)

    models: Sequence[ModelId] = (B, C)
    async with swapcore.open_supervisor(SPECS, launch=FakeServers()) as supervisor:
        async with supervisor.lease(A), trio.open_nursery() as nursery:
            for model in models:
                nursery.start_soon(partial(ask, supervisor, model))
            await trio.testing.wait_all_tasks_blocked()
            supervisor.pin(A)
            await trio.testing.wait_all_tasks_blocked()
            assert refused == {B, C}
