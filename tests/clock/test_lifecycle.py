"""What a model's process goes through, and what those see who ask, wait, use it, or watch."""

from __future__ import annotations

import logging
from contextlib import suppress
from itertools import pairwise
from math import inf

import attrs
import pytest
import trio
from observed import changes, now, spawns
from trio.testing import MockClock

import swapcore
from swapcore import (
    Endpoint,
    FleetView,
    LeaseGranted,
    Liveness,
    ModelId,
    ModelSpec,
    ProcState,
    StateChanged,
    Supervisor,
    SwapPlan,
    SwapPlanner,
)
from swapcore.planners import LruPlanner
from swapcore.testing import FakeServers, recorded_events

A, B, C = MODELS = [ModelId(name) for name in "abc"]
SPECS = [ModelSpec(model) for model in MODELS]
BESIDE_EACH_OTHER = LruPlanner(3)


# -- states and what is told of them ---------------------------------------------------------------


@pytest.mark.rule("L1", "L7")
async def test_every_model_is_there_and_stopped_and_none_is_started_unasked(
    autojump_clock: MockClock,
) -> None:
    servers = FakeServers()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await trio.sleep(1000)
        assert [supervisor.state_of(model) for model in MODELS] == [ProcState.STOPPED] * 3
    assert servers.log == []


@pytest.mark.rule("L5")
async def test_each_change_is_one_event_and_what_changes_nothing_is_none(autojump_clock: MockClock) -> None:
    async with swapcore.open_supervisor(SPECS, launch=FakeServers()) as supervisor:
        with recorded_events(supervisor) as events:
            await supervisor.unload(A)  # it never ran
            await supervisor.load(A)
            await supervisor.load(A)
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(supervisor.unload, A)
            await supervisor.unload(A)
    assert changes(events) == [
        ("stopped", "starting"),
        ("starting", "ready"),
        ("ready", "stopping"),
        ("stopping", "stopped"),
    ]


@pytest.mark.rule("L2", "L8")
async def test_ten_loads_and_unloads_that_race_end_and_leave_it_as_it_was(autojump_clock: MockClock) -> None:
    servers = FakeServers(stop_seconds=1)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:

        async def load() -> None:
            with suppress(swapcore.Unloaded):
                await supervisor.load(A)

        with recorded_events(supervisor) as events, trio.fail_after(1000):
            async with trio.open_nursery() as nursery:
                for n in range(10):
                    nursery.start_soon(load)
                    nursery.start_soon(supervisor.unload, A)
                    await trio.sleep(n / 4)
            await supervisor.unload(A)
        seen = changes(events)
        assert len(seen) > 4, "it was started more than once"
        assert all(after == before for (_, after), (before, _) in pairwise(seen))
        assert supervisor.state_of(A) is ProcState.STOPPED
        await supervisor.load(A)


@attrs.frozen
class Noting(SwapPlanner):
    """Lets everything run, and notes what it was told that runs."""

    seen: list[tuple[ModelId, frozenset[ModelId]]] = attrs.field(factory=list)

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        self.seen.append((target, frozenset(view.running)))
        return SwapPlan()


@pytest.mark.rule("L7", "L79")
async def test_what_starts_and_what_stops_counts_as_running(autojump_clock: MockClock) -> None:
    planner = Noting()
    servers = FakeServers({B: 100}, stop_seconds=100)
    async with (
        swapcore.open_supervisor(SPECS, planner=planner, launch=servers) as supervisor,
        trio.open_nursery() as nursery,
    ):
        await supervisor.load(A)
        nursery.start_soon(supervisor.unload, A)
        nursery.start_soon(supervisor.load, B)
        await trio.sleep(1)
        assert [supervisor.state_of(model).value for model in (A, B)] == ["stopping", "starting"]
        await supervisor.load(C)
        assert (C, frozenset({A, B})) in planner.seen
        await trio.sleep(200)
        planner.seen.clear()
        await supervisor.unload(C)
        await supervisor.load(C)
        assert planner.seen[0] == (C, frozenset({B})), "a is stopped by now"


@pytest.mark.rule("L26")
async def test_when_it_is_ready_that_is_told_first_and_then_its_callers_are_served(
    autojump_clock: MockClock,
) -> None:
    specs = [ModelSpec(A, url="http://h:1/base", ttl=10)]
    servers = FakeServers({A: 3})
    async with swapcore.open_supervisor(specs, launch=servers) as supervisor:
        with recorded_events(supervisor) as events:
            async with supervisor.lease(A) as endpoint:
                assert endpoint == Endpoint("http://h:1/base")
                assert supervisor.state_of(A) is ProcState.READY
            await trio.sleep(9)
            assert supervisor.state_of(A) is ProcState.READY
            await trio.sleep(2)
            assert supervisor.state_of(A) is ProcState.STOPPED, "its ttl runs from then on"
    told = [e for e in events if isinstance(e, LeaseGranted) or (isinstance(e, StateChanged) and e.at == 3)]
    assert [type(event) for event in told] == [StateChanged, LeaseGranted]


# -- those who wait -----------------------------------------------------------------------------------


async def _outcome(supervisor: Supervisor, model: ModelId, into: list[tuple[float, str]]) -> None:
    try:
        await supervisor.load(model)
        into.append((now(), "served"))
    except swapcore.SwapcoreError as error:
        into.append((now(), type(error).__name__))


@pytest.mark.rule("L32")
@pytest.mark.parametrize(
    ("what", "outcome"),
    [
        ("ready", (30, "served")),
        ("crash", (7, "StartFailed")),
        ("timeout", (20, "StartTimeout")),
        ("unload", (10, "Unloaded")),
        ("removed", (10, "Unloaded")),
        ("closed", (10, "Closed")),
        ("unload of another", (30, "served")),
    ],
)
async def test_whatever_a_start_comes_to_all_who_wait_are_told_at_once(
    autojump_clock: MockClock, what: str, outcome: tuple[float, str]
) -> None:
    servers = FakeServers({A: 30}, stop_seconds=5, crash_after={A: 7} if what == "crash" else {})
    specs = [ModelSpec(A, start_timeout=20 if what == "timeout" else 120), ModelSpec(B)]
    outcomes = list[tuple[float, str]]()
    async with swapcore.open_supervisor(specs, launch=servers) as supervisor, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(_outcome, supervisor, A, outcomes)
        await trio.sleep(10)
        match what:
            case "unload":
                await supervisor.unload(A)
            case "unload of another":
                await supervisor.unload(B)  # it is stopped as it is
            case "removed":
                await supervisor.reconfigure([ModelSpec(B)])
            case "closed":
                supervisor.close()
            case _:
                pass
    at, result = outcome
    assert [told for _, told in outcomes] == [result] * 3
    if result == "StartTimeout":
        at += 5  # it is gone by then: what cannot be in time is stopped before that is said
    assert [when for when, _ in outcomes] == [at] * 3


@pytest.mark.rule("L29")
async def test_the_end_of_the_supervisor_tells_those_who_wait_before_anything_has_stopped(
    autojump_clock: MockClock,
) -> None:
    servers, outcomes = FakeServers({A: inf, B: inf}, stop_seconds=50), list[tuple[float, str]]()
    async with trio.open_nursery() as nursery:
        async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
            nursery.start_soon(_outcome, supervisor, A, outcomes)
            nursery.start_soon(_outcome, supervisor, B, outcomes)
            await trio.sleep(4)
        assert trio.current_time() == pytest.approx(4 + 50)
    assert outcomes == [(4, "Closed")] * 2
    assert servers.alive == set()


@pytest.mark.rule("L98")
async def test_an_unload_turns_away_who_waits_for_that_model_and_nobody_else(
    autojump_clock: MockClock,
) -> None:
    servers, a, b, c = FakeServers(stop_seconds=3), *(list[tuple[float, str]]() for _ in range(3))
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor, trio.open_nursery() as nursery:
        async with supervisor.lease(A):  # ready at 1
            for model, outcomes in ((B, b), (B, b), (C, c)):
                nursery.start_soon(_outcome, supervisor, model, outcomes)
            await trio.sleep(5)
            await supervisor.unload(B)  # for which two are in line, and which is stopped
            nursery.start_soon(_outcome, supervisor, A, a)
            await trio.sleep(5)
    assert b == [(6, "Unloaded")] * 2
    assert c == [(11 + 3 + 1, "served")]
    assert [told for _, told in a] == ["served"]
    assert B not in spawns(servers)


# -- stops and crashes ----------------------------------------------------------------------------------


@pytest.mark.rule("L41", "L99")
@pytest.mark.rule("L169")
async def test_an_unload_does_not_wait_for_those_who_use_the_model(autojump_clock: MockClock) -> None:
    servers, told = FakeServers(stop_seconds=2), list[tuple[float, str]]()
    async with (
        swapcore.open_supervisor(
            SPECS, launch=servers, on_stopping=lambda model, _, why: told.append((now(), model))
        ) as supervisor,
        supervisor.lease(A),
    ):
        await trio.sleep(10)
        await supervisor.unload(A)
        assert trio.current_time() == pytest.approx(1 + 10 + 2)
        assert told == [(11, A)], "so that its connections are cut"
        assert servers.alive == set()
        assert supervisor.statistics().leases == 0, "of what runs"


@pytest.mark.rule("L45")
@pytest.mark.rule("L169")
async def test_a_crash_is_one_warning_and_the_next_request_starts_it_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "swapcore")
    servers = FakeServers(crash_after={A: 5})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        with recorded_events(supervisor) as events:
            await supervisor.load(A)
            await trio.sleep(1000)
        assert [record.getMessage() for record in caplog.records] == ["a: a crashed"]
        assert changes(events)[-1] == ("ready", "stopped")
        assert spawns(servers) == [A], "by itself nothing starts it"
        await supervisor.load(A)
    assert spawns(servers) == [A, A]


@pytest.mark.rule("L43")
async def test_what_was_stopped_is_no_failure_whatever_it_did_then(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class DiesBadly(FakeServers):
        async def __call__(self, spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
            try:
                await super().__call__(spec, task_status=task_status)
            except trio.Cancelled:
                raise RuntimeError("exited with status 3") from None

    async with swapcore.open_supervisor(SPECS, launch=DiesBadly()) as supervisor:
        with recorded_events(supervisor) as events:
            for _ in range(5):
                await supervisor.load(A)
                await supervisor.unload(A)
        counted = supervisor.statistics().models[A]
    assert (counted.starts, counted.crashes) == (5, 0)
    assert not [event for event in events if isinstance(event, swapcore.Crashed)]


@pytest.mark.rule("L53", "G9")
async def test_probes_are_no_use_that_a_ttl_would_wait_for(autojump_clock: MockClock) -> None:
    servers = FakeServers()
    specs = [ModelSpec(A, ttl=10, liveness=Liveness(every=1))]
    async with swapcore.open_supervisor(specs, launch=servers) as supervisor:
        await supervisor.load(A)
        await trio.sleep(60)
    stopped_at, what, _ = servers.log[-1]
    assert what == "exit"
    assert stopped_at == pytest.approx(1 + 10, abs=0.05)


@pytest.mark.rule("L102")
@pytest.mark.rule("L164")
async def test_closing_twice_is_closing_once(autojump_clock: MockClock) -> None:
    servers = FakeServers(stop_seconds=2)
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await supervisor.load(A)
        supervisor.close()
        supervisor.close()
        for _ in range(2):
            with pytest.raises(swapcore.Closed):
                await supervisor.load(A)
    assert trio.current_time() == pytest.approx(1 + 2)


@pytest.mark.rule("L103")
@pytest.mark.rule("L164")
async def test_at_the_end_all_are_stopped_at_the_same_time(autojump_clock: MockClock) -> None:
    servers = FakeServers(stop_seconds=7)
    async with swapcore.open_supervisor(SPECS, planner=BESIDE_EACH_OTHER, launch=servers) as supervisor:
        await supervisor.load(*MODELS)
        ended_at = trio.current_time()
    assert trio.current_time() - ended_at == pytest.approx(7)
    assert [what for _, what, _ in servers.log[-3:]] == ["exit"] * 3
