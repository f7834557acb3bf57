"""Whom the default order serves first, who may lose by it and how much, and what it is worth to all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

import pytest
from agent_traces import TRACES, Trace, play, waits_in_strict_order, waits_of
from hypothesis import given, settings, strategies as st
from scheduler_simulation import Caller, Simulation

from swapcore import ExclusivePlanner, ModelId, ModelSpec, SchedulingPolicy
from swapcore._effects import Ticket
from swapcore._queue import PRIORITY_STEP, WaitingQueue
from swapcore._returns import ENOUGH, Returns

A, B, C = MODELS = [ModelId(name) for name in "abc"]
SPECS = [ModelSpec(model) for model in MODELS]
FIRST_COME_FIRST_SERVED = SchedulingPolicy(leeway=0)


# -- what it is worth ----------------------------------------------------------------------------


@pytest.mark.rule("G32")
@pytest.mark.parametrize("make", TRACES, ids=lambda make: str(make.__name__))
def test_g32_on_traces_of_agents_the_mean_wait_is_a_fifth_less_than_first_come_first_served(
    make: Callable[[int], Trace],
) -> None:
    ours, theirs, strict = list[float](), list[float](), list[float]()
    for seed in range(10):
        trace = make(seed)
        for policy, waits in ((SchedulingPolicy(), ours), (FIRST_COME_FIRST_SERVED, theirs)):
            waits += (those := waits_of(play(trace, policy)))
            assert max(those) <= policy.max_wait + trace.longest_turn, "the bound is the same"
        strict += waits_in_strict_order(trace)
    assert len(ours) == len(theirs) == len(strict) > 3000
    mean = sum(ours) / len(ours)
    against_collation, against_strict = mean * len(theirs) / sum(theirs), mean * len(strict) / sum(strict)
    print(
        f"{make.__name__}: mean wait {mean:.1f} s, {against_collation:.2f} of first come, first served with "
        f"collation, {against_strict:.2f} of the same without"
    )
    assert against_collation <= 0.8
    assert against_strict <= 0.8
    assert sorted(ours)[len(ours) * 95 // 100] <= 1.05 * sorted(theirs)[len(theirs) * 95 // 100]


# -- who goes first ------------------------------------------------------------------------------


def queue(*lines: tuple[ModelId, float, Sequence[float]], leeway: float = 60) -> WaitingQueue:
    """Make a queue of (model, seconds that its turn takes, arrivals)."""
    result = WaitingQueue(leeway=leeway)
    arrivals = [(arrived, model, turn) for model, turn, times in lines for arrived in times]
    for n, (arrived, model, turn) in enumerate(sorted(arrivals)):
        result.add(Ticket(model, arrived_at=arrived, sequence=n), turn)
    return result


@pytest.mark.parametrize(
    ("lines", "first"),
    [
        ([(A, 0, [0]), (B, 0, [1])], A),
        ([(A, 10, [0]), (B, 10, [1, 2, 3])], B),
        ([(A, 60, [0]), (B, 5, [1])], B),
        ([(A, 60, [0]), (B, 5, [61])], A),  # came too late for that
        ([(A, 20, [0]), (B, 0, [1])], B),  # was never measured, so it is tried
        ([(A, 2, [0]), (B, 2, [20, 20, 20])], A),
    ],
)
def test_the_shortest_time_for_each_caller_goes_first_unless_it_came_too_late(
    lines: list[tuple[ModelId, float, Sequence[float]]], first: ModelId
) -> None:
    assert next(queue(*lines).models()) == first


def test_without_leeway_the_best_claim_goes_first() -> None:
    assert list(queue((A, 60, [0]), (B, 1, [1, 1, 1]), leeway=0).models()) == [A, B]


arrivals = st.lists(
    st.tuples(st.sampled_from(MODELS), st.floats(0, 200), st.integers(0, 3), st.floats(0, 80)), max_size=25
)


@settings(max_examples=200)
@given(
    arrivals=arrivals, leeway=st.sampled_from([0.0, 10.0, 60.0]), leaving=st.randoms(use_true_random=False)
)
def test_nobody_is_overtaken_by_who_came_more_than_the_leeway_later(
    arrivals: list[tuple[ModelId, float, int, float]], leeway: float, leaving: object
) -> None:
    """However many come and go: nobody starves, even without a bound on waiting."""
    waiting, tickets = WaitingQueue(leeway=leeway), list[Ticket]()
    for n, (model, when, priority, turn) in enumerate(sorted(arrivals, key=lambda arrival: arrival[1])):
        ticket = Ticket(model, priority, arrived_at=when, sequence=n)
        tickets.append(ticket)
        waiting.add(ticket, turn)
        if n % 4 == 3:
            assert waiting.remove(tickets.pop(getattr(leaving, "randrange")(len(tickets))))  # noqa: B009
    assert {*waiting.models()} == {ticket.model for ticket in tickets}
    claims = {model: waiting.first(model) for model in waiting.models()}
    order = [ticket.arrived_at - PRIORITY_STEP * ticket.priority for ticket in claims.values()]
    for at, claim in enumerate(order):
        assert all(claim <= later + leeway for later in order[at + 1 :])
    for model, first in claims.items():
        mine = [ticket for ticket in tickets if ticket.model == model]
        assert waiting.oldest_arrival(model) == min(ticket.arrived_at for ticket in mine)
        assert waiting.highest_priority(model) == max(ticket.priority for ticket in mine)
        assert waiting.place_in_line(first) == 0
    assert waiting.oldest_arrival() == min((ticket.arrived_at for ticket in tickets), default=inf)


def test_position_and_estimate_follow_the_order_that_is_used() -> None:
    simulation = Simulation(SPECS, ExclusivePlanner(), load_seconds={A: 5, B: 40, C: 4}, stop_seconds=1)
    for n, model in enumerate((B, C)):
        simulation.call_at(100 * n, model, hold=2)  # measures them
    simulation.call_at(200, A, hold=60)
    slow = simulation.call_at(210, B, hold=2)
    quick = [simulation.call_at(211, C, hold=2) for _ in range(3)]
    simulation.play(until=215)
    fleet = simulation.scheduler.fleet
    assert [fleet.position(caller.ticket, simulation.now) for caller in (*quick, slow)] == [1, 2, 3, 4]
    soon, late = (fleet.estimate(caller.ticket, simulation.now) for caller in (quick[0], slow))
    assert soon is not None
    assert late is not None
    assert soon < late
    simulation.play(until=270)  # c loads; whoever comes for a is behind, however quick it would be
    assert [*fleet.order_of_service(simulation.now)] == [C, B]
    simulation.play()
    assert [caller.granted_at for caller in quick] == [206 + 60 + 1 + 4] * 3
    assert slow.granted_at == 271 + 2 + 1 + 40


# -- whether to wait for those who will be back --------------------------------------------------


def returning(*gaps: float) -> Returns:
    returns, now = Returns(), 0.0
    for gap in gaps:
        returns.went_idle(now)
        returns.asked_for(now + gap)
        returns.asked_for(now + gap + 1)  # no news: it was not idle
        now += 100
    return returns


def test_who_is_back_within_seconds_is_worth_waiting_for() -> None:
    returns = returning(2, 3, 2, 3, 2, 3)
    assert 3 <= returns.worth_waiting(0, others=1, away=60, service=4) <= 4
    assert 3 <= returns.worth_waiting(1, others=1, away=60, service=4) <= 4


@pytest.mark.parametrize(
    ("returns", "idle_for", "others", "away"),
    [
        (returning(*[2.0] * (ENOUGH - 1)), 0, 1, 60),  # too little is known
        (returning(*[2.0] * 9), 2.5, 1, 60),  # should have been back by now
        (returning(*[90.0] * 9), 0, 1, 60),  # takes longer to be back than to load it again
        (returning(*[2.0] * 9), 0, 30, 60),  # too many would wait meanwhile
        (returning(*[2.0] * 9), 0, 1, 4),  # is loaded again in no time
        (returning(1, *[200.0] * 9), 0, 6, 60),  # was back soon only once
        (Returns(), 0, 0, 60),
    ],
)
def test_waiting_for_callers_who_may_be_back_has_to_pay(
    returns: Returns, idle_for: float, others: int, away: float
) -> None:
    assert returns.worth_waiting(idle_for, others=others, away=away, service=4) == 0


def agent(simulation: Simulation, model: ModelId, calls: int, think: float) -> list[Caller]:
    callers = list[Caller]()

    def ask() -> None:
        if len(callers) < calls:
            callers.append(simulation.call_at(simulation.now + think, model, hold=1, then=ask))

    ask()
    return callers


def test_an_idle_model_stays_for_an_agent_that_is_back_at_once_and_no_longer_than_the_leeway() -> None:
    simulation = Simulation(
        SPECS, ExclusivePlanner(), SchedulingPolicy(max_wait=inf), load_seconds=20, stop_seconds=1
    )
    agent(simulation, A, calls=200, think=2)
    other = simulation.call_at(300, B, hold=1)
    simulation.play()
    simulation.assert_at_rest()
    assert other.granted_at is not None
    assert 300 + 60 <= other.granted_at + 1e-6 - 21 <= 300 + 60 + 1
    waited = [caller for caller in simulation.finished if caller.granted_at != caller.asked_at]
    assert len(waited) == 3, "a was loaded, made room for b once, and came back"


def test_an_idle_model_makes_room_soon_once_its_agent_has_gone_and_at_once_if_it_had_none() -> None:
    simulation = Simulation(SPECS, ExclusivePlanner(), load_seconds=20, stop_seconds=1)
    agent(simulation, A, calls=20, think=2)  # until 79, at 2 + 20 and three seconds each
    simulation.call_at(22 + 20 * 3 - 1, B, hold=1)
    simulation.call_at(500, C, hold=1)
    simulation.play()
    waits = {
        caller.ticket.model: wait
        for caller, wait in zip(simulation.finished, waits_of(simulation.finished), strict=True)
    }
    assert waits[B] <= 1 + 2 * 1.1 + 21
    assert waits[C] == 21


def test_who_asks_two_models_in_turn_never_waits_for_himself() -> None:
    """He comes back for the first when the second has served him, and not before."""
    simulation = Simulation(SPECS, ExclusivePlanner(), load_seconds=5, stop_seconds=1)
    callers = list[Caller]()

    def ask() -> None:
        if len(callers) < 60:
            model = MODELS[len(callers) % 2]
            callers.append(simulation.call_at(simulation.now + 0.1, model, hold=1, then=ask))

    ask()
    simulation.play()
    assert waits_of(callers) == [5.0] + [pytest.approx(6.0)] * 59


def test_an_overdue_caller_is_not_kept_for_callers_who_may_be_back() -> None:
    policy = SchedulingPolicy(max_wait=10, leeway=60)
    simulation = Simulation(SPECS, ExclusivePlanner(), policy, load_seconds=20, stop_seconds=1)
    agent(simulation, A, calls=100, think=2)
    other = simulation.call_at(150, B, hold=1)
    simulation.play()
    assert other.granted_at is not None
    assert other.granted_at - other.asked_at <= policy.max_wait / 2 + 2 + 1 + 21
