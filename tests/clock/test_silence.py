"""Models that say nothing: while they load, and in use."""

from __future__ import annotations

import pytest
import trio
from observed import spawns
from trio.testing import MockClock

import swapcore
from swapcore import Endpoint, ModelId, ModelSpec, ProcState
from swapcore.testing import FakeServers

A = ModelId("a")


class TalkativeServers(FakeServers):
    """Writes a line of output each second while it loads."""

    async def __call__(self, spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        async with trio.open_nursery() as nursery:
            log = swapcore.current_log()

            async def talk() -> None:
                for second in range(1000):
                    log.write(b"loading, second %d\n" % second)
                    await trio.sleep(1)

            nursery.start_soon(talk)
            await super().__call__(spec, task_status=task_status)


@pytest.mark.rule("G39")
@pytest.mark.rule("L184")
async def test_a_start_that_makes_progress_gets_more_time(autojump_clock: MockClock) -> None:
    specs = [ModelSpec(A, start_timeout=10)]
    async with swapcore.open_supervisor(specs, launch=TalkativeServers({A: 35})) as supervisor:
        await supervisor.load(A)
        assert trio.current_time() == pytest.approx(35)


@pytest.mark.rule("G39")
async def test_but_not_for_ever(autojump_clock: MockClock) -> None:
    specs = [ModelSpec(A, start_timeout=10, start_timeout_max=25)]
    async with swapcore.open_supervisor(specs, launch=TalkativeServers({A: 9999})) as supervisor:
        with pytest.raises(swapcore.StartTimeout, match="25 s") as caught:
            await supervisor.load(A)
        assert trio.current_time() == pytest.approx(25)
        assert "second 24" in caught.value.__notes__[0]


@pytest.mark.rule("G20")
async def test_a_model_in_use_that_falls_silent_is_restarted(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 1})
    specs = [ModelSpec(A, liveness=swapcore.Liveness(silent=30))]
    async with swapcore.open_supervisor(specs, launch=servers) as supervisor, supervisor.events() as events:
        async with supervisor.lease(A):  # since 1
            for _ in range(10):
                await trio.sleep(20)
                supervisor.heard(A)  # until 201
            assert supervisor.state_of(A) is ProcState.READY
            await trio.sleep(40)
            assert supervisor.state_of(A) is ProcState.STOPPED
        await supervisor.load(A)
        async for event in events:
            if isinstance(event, swapcore.Crashed):
                assert 231 <= event.at <= 235
                assert isinstance(event.error, swapcore.Hung)
                assert "silent for 30 s" in str(event.error)
                break
    assert spawns(servers) == [A, A]


async def test_a_model_that_nobody_uses_may_be_silent(autojump_clock: MockClock) -> None:
    specs = [ModelSpec(A, liveness=swapcore.Liveness(silent=30))]
    async with swapcore.open_supervisor(specs, launch=FakeServers()) as supervisor:
        await supervisor.load(A)
        await trio.sleep(1000)
        assert supervisor.state_of(A) is ProcState.READY
