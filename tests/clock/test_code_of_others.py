"""Launchers, planners and callbacks that break their contract: one model fails, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import swapcore
from swapcore import (
    Endpoint,
    ExclusivePlanner,
    FleetView,
    ModelId,
    ModelSpec,
    PlannerFailed,
    StartFailed,
    StartTimeout,
    SwapPlan,
)
from swapcore.testing import FakeServers

A, B = ModelId("a"), ModelId("b")
SPECS = [ModelSpec(A, start_timeout=20), ModelSpec(B)]


class Unspeakable(Exception):
    """Cannot be put into words."""

    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


class OwnFailure(StartFailed):
    """Cannot be copied: it is made from other arguments than it keeps."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec.id, "of its own")


class Broken(FakeServers):
    """Launches a in a way of its own."""

    def __init__(self, launch: Callable[..., Any]) -> None:
        super().__init__()
        self._broken = launch

    async def __call__(self, spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        if spec.id == A:
            await self._broken(spec, task_status)
        else:
            await super().__call__(spec, task_status=task_status)


async def failure_of(launch: Callable[..., Any]) -> StartFailed:
    """What a caller of a is told. A caller of b, afterwards, is served as ever."""
    async with swapcore.open_supervisor(SPECS, launch=Broken(launch)) as supervisor:
        with pytest.raises(StartFailed) as caught:
            await supervisor.load(A)
        await supervisor.load(B)
    return caught.value


# -- launchers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "http://127.0.0.1:1"])
async def test_ready_without_an_endpoint(autojump_clock: MockClock, value: object) -> None:
    async def launch(spec: ModelSpec, task_status: trio.TaskStatus[object]) -> None:
        task_status.started(value)
        await trio.sleep_forever()

    error = await failure_of(launch)
    assert type(error) is StartFailed
    assert error.reason == f"task_status.started() takes the Endpoint where it answers, not {value!r}"


async def test_the_end_of_a_start_that_was_cancelled_for_its_timeout_and_returns(
    autojump_clock: MockClock,
) -> None:
    async def launch(spec: ModelSpec, task_status: object) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return

    error = await failure_of(launch)
    assert isinstance(error, StartTimeout)
    assert error.reason == "not ready after 20 s"


async def test_a_return_before_it_is_ready(autojump_clock: MockClock) -> None:
    async def launch(spec: ModelSpec, task_status: object) -> None:
        await trio.sleep(3)

    error = await failure_of(launch)
    assert type(error) is StartFailed
    assert error.reason == "its launcher returned without task_status.started()"


async def test_a_launcher_that_returns_when_it_is_unloaded_while_it_starts(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def launch(spec: ModelSpec, task_status: object) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return

    async with swapcore.open_supervisor(SPECS, launch=Broken(launch)) as supervisor:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(swapcore.Unloaded):
                    await supervisor.load(A)

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await supervisor.unload(A)
    assert caplog.text == "", "a stop that was asked for is no failure"


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        pytest.param(Unspeakable(), "Unspeakable, which cannot be put into words", id="unspeakable"),
        pytest.param(
            ExceptionGroup("two", [ExceptionGroup("one", [OSError("no memory")])]), "no memory", id="nested"
        ),
        pytest.param(
            ExceptionGroup("two", [OSError("x"), OSError("y")]), "two (2 sub-exceptions)", id="several"
        ),
        pytest.param(GeneratorExit(), "it raised GeneratorExit()", id="generator exit"),
        pytest.param(
            BaseExceptionGroup("one", [GeneratorExit()]), "it raised GeneratorExit()", id="in a group"
        ),
        pytest.param(KeyError(), "KeyError", id="without a word"),
    ],
)
async def test_whatever_a_launcher_raises_is_the_failure_of_its_model(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, raised: BaseException, reason: str
) -> None:
    async def launch(spec: ModelSpec, task_status: object) -> None:
        await trio.sleep(1)
        raise raised

    error = await failure_of(launch)
    assert error.reason == reason
    assert f"a: {reason}" in caplog.messages, "the log names the model"


async def test_an_error_that_cannot_be_copied(autojump_clock: MockClock) -> None:
    async def launch(spec: ModelSpec, task_status: object) -> None:
        raise OwnFailure(spec)

    assert isinstance(await failure_of(launch), OwnFailure)


async def test_a_mixed_group_after_it_was_ready_is_a_crash(autojump_clock: MockClock) -> None:
    async def launch(spec: ModelSpec, task_status: trio.TaskStatus[Endpoint]) -> None:
        task_status.started(Endpoint("http://127.0.0.1:1"))
        await trio.sleep(1)
        raise BaseExceptionGroup("mixed", [ValueError(1), GeneratorExit()])

    async with swapcore.open_supervisor(SPECS, launch=Broken(launch)) as supervisor:
        async with supervisor.events() as events:
            await supervisor.load(A)
            async for event in events:
                if isinstance(event, swapcore.Crashed):
                    assert "it raised BaseExceptionGroup('mixed'" in str(event.error)
                    break
        await supervisor.load(B)


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("grouped", [False, True])
async def test_the_wish_to_end_the_program_is_not_a_model_s_failure(
    autojump_clock: MockClock, end: type[BaseException], grouped: bool
) -> None:
    servers = FakeServers()

    async def launch(spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        if spec.id == B:
            raise BaseExceptionGroup("ends", [ValueError(), end()]) if grouped else end()
        await servers(spec, task_status=task_status)

    async def run() -> None:
        async with swapcore.open_supervisor(SPECS, planner=Beside(), launch=launch) as supervisor:
            await supervisor.load(A)
            await supervisor.load(B)

    with pytest.raises(BaseExceptionGroup) as caught:
        await run()
    assert caught.value.subgroup(end) is not None
    assert servers.alive == set(), "the others were stopped first"


class Beside(ExclusivePlanner):
    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        return SwapPlan()


# -- planners and callbacks ----------------------------------------------------------------------


RAISED: Sequence[BaseException] = (Unspeakable(), GeneratorExit(), BaseExceptionGroup("g", [GeneratorExit()]))


@pytest.mark.parametrize("raised", RAISED, ids=["unspeakable", "generator exit", "in a group"])
@pytest.mark.parametrize("question", ["evictions", "choose_next"])
async def test_whatever_a_planner_raises_is_one_model_s_failure(
    autojump_clock: MockClock, raised: BaseException, question: str
) -> None:
    class Planner(ExclusivePlanner):
        def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
            if question == "evictions" and target == A:
                raise raised
            return super().evictions(target, view)

        def choose_next(self, view: FleetView) -> ModelId | None:
            if question == "choose_next" and A in view.waiting:
                raise raised
            return super().choose_next(view)

    async with swapcore.open_supervisor(SPECS, planner=Planner(), launch=FakeServers()) as supervisor:
        with pytest.raises(PlannerFailed, match=rf"a: Planner\.{question} raised (Unsp|Runt)"):
            await supervisor.load(A)
        await supervisor.load(B)


@pytest.mark.parametrize("raised", RAISED, ids=["unspeakable", "generator exit", "in a group"])
async def test_whatever_a_callback_raises_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, raised: BaseException
) -> None:
    def fail(*anything: object) -> None:
        raise raised

    async with swapcore.open_supervisor(SPECS, launch=FakeServers(), on_stopping=fail) as supervisor:
        async with supervisor.lease(A, on_wait=fail):
            pass
        await supervisor.load(B)
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "on_wait failed for a caller of a",
        "on_stopping failed for a",
        "on_stopping failed for b",
    ]


async def test_whatever_a_check_raises_fails_the_start() -> None:
    class Checking(FakeServers):
        def preflight(self, spec: ModelSpec, beside: Sequence[ModelSpec]) -> None:
            if spec.id == B:
                raise Unspeakable

    servers = Checking(load_seconds={A: 0, B: 0})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await supervisor.load(A)
        with pytest.raises(StartFailed, match="its check before the start failed: Unspeakable"):
            await supervisor.load(B)
