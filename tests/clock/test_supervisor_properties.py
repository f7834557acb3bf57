"""Whole-supervisor properties on a virtual clock: hours of traffic in a millisecond."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations
from typing import TypeAlias

import attrs
import pytest
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock

import swapcore
from swapcore import ExclusivePlanner, FleetView, ModelId, ModelSpec, SchedulingPolicy, SwapPlan, SwapPlanner
from swapcore.testing import FakeServers, Livelock

MODELS = [ModelId(name) for name in "abcd"]


@attrs.frozen
class PairsPlanner(SwapPlanner):
    """Only the given pairs may not run together."""

    rivals: frozenset[frozenset[ModelId]]

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        return SwapPlan(tuple(m for m in view.running if frozenset((m, target)) in self.rivals), "rivals")


ALL_PAIRS = [frozenset(pair) for pair in combinations(MODELS, 2)]
PLANNERS: st.SearchStrategy[tuple[SwapPlanner, frozenset[frozenset[ModelId]]]] = st.one_of(
    st.just((ExclusivePlanner(), frozenset(ALL_PAIRS))),
    st.frozensets(st.sampled_from(ALL_PAIRS)).map(lambda rivals: (PairsPlanner(rivals), rivals)),
)


@attrs.frozen
class Call:
    """One caller: who asks for what, how long it holds it, how long it is willing to wait."""

    gap: float
    model: ModelId
    hold: float
    patience: float | None
    priority: int


@attrs.frozen
class Unload:
    gap: float
    model: ModelId
    drain: bool


Step: TypeAlias = Call | Unload

GAPS = st.sampled_from([0.0, 0.0, 0.0, 1.0, 7.0])  # zero: in the same tick
STEPS = st.one_of(
    st.builds(
        Call,
        GAPS,
        st.sampled_from(MODELS),
        hold=st.sampled_from([0.0, 3.0]),
        patience=st.sampled_from([None, None, 0.0, 2.0]),
        priority=st.sampled_from([0, 0, 0, 3]),
    ),
    st.builds(Unload, GAPS, st.sampled_from(MODELS), st.booleans()),
)


@attrs.define
class History:
    """What one run of a script did to its callers."""

    asked: int = 0
    served: int = 0
    turned_away: list[Exception] = attrs.field(factory=list[Exception])
    longest_wait: float = 0.0


async def play(
    steps: Sequence[Step],
    specs: Sequence[ModelSpec],
    planner: SwapPlanner,
    servers: FakeServers,
    max_wait: float,
) -> History:
    history = History()

    async def use(supervisor: swapcore.Supervisor, call: Call) -> None:
        asked = trio.current_time()
        history.asked += call.patience is None
        try:
            with trio.move_on_after(float("inf") if call.patience is None else call.patience):
                async with supervisor.lease(call.model, priority=call.priority):
                    if call.patience is None:
                        history.served += 1
                        history.longest_wait = max(history.longest_wait, trio.current_time() - asked)
                    await trio.sleep(call.hold)
        except swapcore.SwapcoreError as exc:
            if call.patience is None:
                history.turned_away.append(exc)

    with trio.fail_after(3600):
        async with swapcore.open_supervisor(
            specs, planner=planner, launch=servers, policy=SchedulingPolicy(max_wait=max_wait)
        ) as supervisor:
            async with trio.open_nursery() as nursery:
                for step in steps:
                    await trio.sleep(step.gap)
                    match step:
                        case Call():
                            nursery.start_soon(use, supervisor, step)
                        case Unload(model=model, drain=drain):
                            nursery.start_soon(partial(supervisor.unload, model, drain=drain))
            await supervisor.wait_idle()
            await trio.sleep(60)  # what the supervisor itself wants to run again has come up, or not
            statistics = supervisor.statistics()
            assert statistics.leases == statistics.waiting == 0
    return history


def assert_never_together(servers: FakeServers, rivals: frozenset[frozenset[ModelId]]) -> None:
    alive = set[str]()
    for _, what, model in servers.log:
        if what == "spawn":
            for other in alive:
                assert frozenset((model, other)) not in rivals, servers.log
            assert model not in alive, servers.log
            alive.add(model)
        elif what == "exit":
            alive.discard(model)
    assert not alive


@settings(max_examples=150)
@given(
    steps=st.lists(STEPS, max_size=14),
    planner=PLANNERS,
    load=st.sampled_from([0.0, 5.0]),
    stop=st.sampled_from([0.0, 2.0]),
    ttl=st.sampled_from([None, 4.0]),
    concurrency=st.sampled_from([None, 1]),
    max_wait=st.sampled_from([6.0, 120.0]),
    crash=st.sampled_from([None, 3.0, 8.0]),
)
@pytest.mark.rule("G1")
def test_rivals_never_meet_and_every_patient_caller_is_answered(
    steps: list[Step],
    planner: tuple[SwapPlanner, frozenset[frozenset[ModelId]]],
    load: float,
    stop: float,
    ttl: float | None,
    concurrency: int | None,
    max_wait: float,
    crash: float | None,
) -> None:
    policy, rivals = planner
    crashes = {} if crash is None else {MODELS[0]: crash}
    servers = FakeServers(dict.fromkeys(MODELS, load), stop_seconds=stop, crash_after=crashes)
    specs = [ModelSpec(model, ttl=ttl, concurrency=concurrency) for model in MODELS]
    try:
        history = trio.run(
            partial(play, steps, specs, policy, servers, max_wait), clock=MockClock(autojump_threshold=0)
        )
    except* Livelock as group:
        raise AssertionError("livelock") from group
    assert_never_together(servers, rivals)
    assert history.served + len(history.turned_away) == history.asked
    unloads = any(isinstance(step, Unload) for step in steps)
    for error in history.turned_away:
        if isinstance(error, swapcore.StartFailed | swapcore.BackingOff):
            assert error.model in crashes
        else:
            assert isinstance(error, swapcore.Unloaded)
            assert unloads
