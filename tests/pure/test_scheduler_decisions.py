"""What the scheduler decides about each event, step by step: no clock, no tasks, no processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs
import pytest

from swapcore import (
    Endpoint,
    ExclusivePlanner,
    FleetView,
    ModelId,
    ModelSpec,
    SchedulingPolicy,
    StartFailed,
    SwapPlan,
    SwapPlanner,
)
from swapcore._effects import Effect, Grant, Launch, Reject, Stop, Ticket
from swapcore._scheduler import Scheduler
from swapcore._states import BecameReady, Exited
from swapcore.planners import LruPlanner

A, B, C, D, X = MODELS = [ModelId(name) for name in "abcdx"]
ENDPOINT = Endpoint("http://127.0.0.1:1")


@attrs.frozen
class Evicts(SwapPlanner):
    """Each target drives out what is said here, as far as it runs."""

    rivals: Mapping[ModelId, Iterable[ModelId]]

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        return SwapPlan(tuple(m for m in view.running if m in self.rivals.get(target, ())))


@attrs.define(eq=False)
class Desk:
    """A scheduler, who came to it, and what it had done: ``launch a``, ``stop a``, ``grant a``, ..."""

    scheduler: Scheduler
    did: list[str] = attrs.field(factory=list[str])
    errors: dict[Ticket, Exception] = attrs.field(factory=dict[Ticket, Exception])
    granted: list[Ticket] = attrs.field(factory=list[Ticket])
    now: float = 0.0

    @classmethod
    def of(cls, planner: SwapPlanner, *specs: ModelSpec) -> Desk:
        by_id = {model: ModelSpec(model) for model in MODELS} | {spec.id: spec for spec in specs}
        return cls(Scheduler.for_specs(by_id, planner, SchedulingPolicy(leeway=0)))

    def ask(self, model: ModelId) -> Ticket:
        ticket = Ticket(model)
        self._do(self.scheduler.on_request(ticket, self.now))
        return ticket

    def leave(self, *tickets: Ticket) -> None:
        for ticket in tickets:
            self._do(self.scheduler.on_release(ticket, self.now))

    def ready(self, *models: ModelId) -> None:
        for model in models:
            run = self.scheduler.fleet.run_of(model)
            assert run is not None
            self._do(self.scheduler.on_process(run, BecameReady(ENDPOINT), self.now))

    def gone(self, model: ModelId, error: Exception | None = None) -> None:
        run = self.scheduler.fleet.run_of(model)
        assert run is not None
        self._do(self.scheduler.on_process(run, Exited(error), self.now))

    def unload(self, *models: ModelId) -> None:
        self._do(self.scheduler.on_unload(models, False, self.now))

    def have_ready(self, *models: ModelId) -> None:
        """Have them run, unused."""
        for model in models:
            ticket = self.ask(model)
            self.ready(model)
            self.leave(ticket)
        self.did.clear()

    def news(self) -> list[str]:
        """What was done since this was asked last."""
        news, self.did = self.did, []
        return news

    def _do(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Launch(run):
                    self.did.append(f"launch {run.model}")
                case Stop(run):
                    self.did.append(f"stop {run.model}")
                case Grant(ticket):
                    self.did.append(f"grant {ticket.model}")
                    self.granted.append(ticket)
                case Reject(ticket, error):
                    self.did.append(f"refuse {ticket.model}")
                    self.errors[ticket] = error
                case _:
                    pass


# -- a new request ------------------------------------------------------------------------------------


@pytest.mark.rule("L78")
def test_an_unknown_model_is_refused_before_anything_else_is_looked_at() -> None:
    desk = Desk.of(ExclusivePlanner())
    ticket = desk.ask(ModelId("nobody"))
    assert desk.news() == ["refuse nobody"]
    assert isinstance(desk.errors[ticket], LookupError)


@pytest.mark.rule("L78")
def test_what_is_ready_is_granted_at_once() -> None:
    desk = Desk.of(ExclusivePlanner())
    desk.have_ready(A)
    desk.ask(A)
    assert desk.news() == ["grant a"]


@pytest.mark.rule("L78", "L82")
def test_who_comes_while_it_starts_joins_and_all_are_granted_in_their_order() -> None:
    desk = Desk.of(ExclusivePlanner())
    tickets = [desk.ask(A) for _ in range(3)]
    assert desk.news() == ["launch a"]
    desk.ready(A)
    assert desk.news() == ["grant a"] * 3
    assert desk.granted == tickets


@pytest.mark.rule("L78", "L83")
def test_nothing_is_stopped_that_somebody_uses_until_the_last_of_them_has_left() -> None:
    desk = Desk.of(ExclusivePlanner())
    desk.have_ready(A)
    first, second = desk.ask(A), desk.ask(A)
    desk.ask(B)
    assert desk.news() == ["grant a"] * 2
    desk.leave(first)
    assert desk.news() == []
    desk.leave(second)
    assert desk.news() == ["stop a"]
    desk.gone(A)
    assert desk.news() == ["launch b"]


@pytest.mark.rule("L79")
def test_what_is_committed_to_counts_as_running_before_it_is_launched() -> None:
    desk = Desk.of(LruPlanner(2))
    desk.have_ready(A, B)
    desk.ask(C)
    assert desk.news() == ["stop a"], "and c has its place from now on"
    desk.ask(D)
    assert desk.news() == ["stop b"], "not none, as if c did not count"
    desk.gone(A)
    desk.gone(B)
    assert desk.news() == ["launch c", "launch d"]


@pytest.mark.rule("L80")
def test_a_target_waits_while_what_it_would_drive_out_is_being_loaded_for_somebody() -> None:
    desk = Desk.of(Evicts({B: [A]}))
    first = desk.ask(A)
    desk.ask(B)
    desk.ready(A)
    assert desk.news() == ["launch a", "grant a"]
    desk.leave(first)
    assert desk.news() == ["stop a"]


@pytest.mark.rule("L80")
def test_a_target_that_is_being_driven_out_waits_until_it_is_gone() -> None:
    desk = Desk.of(Evicts({B: [A]}))
    desk.have_ready(A)
    desk.ask(B)
    desk.ask(A)
    assert desk.news() == ["stop a"]
    desk.gone(A)
    assert sorted(desk.news()) == ["launch a", "launch b"], "beside each other, as a drives nobody out"


@pytest.mark.rule("L80", "L84", "L95")
def test_two_that_may_run_together_share_the_stop_of_what_is_in_both_their_ways() -> None:
    """Here we do better: llama-swap loads the second when the first is ready."""
    desk = Desk.of(Evicts({B: [A], C: [A], A: [B, C]}))
    desk.have_ready(A)
    user = desk.ask(A)
    desk.ask(B)
    desk.ask(C)
    assert desk.news() == ["grant a"]
    desk.leave(user)
    assert desk.news() == ["stop a"]
    desk.gone(A)
    assert desk.news() == ["launch b", "launch c"]


@pytest.mark.parametrize("is_ready", [True, False])
def test_nothing_loads_into_the_room_that_is_made_for_another(is_ready: bool) -> None:
    desk = Desk.of(Evicts({X: (A, B)}))  # one way only: a and b load beside x
    if is_ready:
        desk.have_ready(X)
    desk.have_ready(A)
    desk.ask(X)
    assert desk.news() == ["stop a"]
    desk.ask(B)
    assert desk.news() == [], "else a and b could take turns, and x would wait for ever"
    desk.gone(A)
    assert desk.news() == ["grant x" if is_ready else "launch x", "launch b"]


@pytest.mark.rule("L95")
def test_two_that_have_nothing_to_do_with_each_other_load_at_the_same_time() -> None:
    desk = Desk.of(Evicts({C: [A], D: [B]}))
    desk.have_ready(A, B)
    desk.ask(C)
    desk.ask(D)
    assert desk.news() == ["stop a", "stop b"]
    desk.gone(B)
    assert desk.news() == ["launch d"]


# -- who is next -----------------------------------------------------------------------------------------


def service_order(desk: Desk) -> str:
    """Let everybody be served, one model after the other, and return the models in that order."""
    order = ""
    while desk.scheduler.fleet.queue:
        (model,) = desk.scheduler.fleet.occupied
        desk.gone(model)
        (model,) = desk.scheduler.fleet.occupied
        desk.granted.clear()
        desk.ready(model)
        order += model
        desk.leave(*desk.granted)
    return order


@pytest.mark.rule("L85")
def test_the_higher_priority_first_and_among_equals_who_came_first() -> None:
    priorities = {A: 1, B: 5, C: 10, D: 5}
    desk = Desk.of(ExclusivePlanner(), *(ModelSpec(model, priority=p) for model, p in priorities.items()))
    desk.have_ready(X)
    user = desk.ask(X)
    for model in (A, B, C, D):
        desk.ask(model)
    desk.leave(user)
    assert service_order(desk) == "cbda"


@pytest.mark.rule("L85")
def test_priority_stops_nobody_and_gives_way_to_what_is_loaded() -> None:
    desk = Desk.of(ExclusivePlanner(), ModelSpec(B, priority=100))
    desk.have_ready(A)
    desk.ask(A)
    desk.ask(B)
    assert desk.news() == ["grant a"], "nothing is stopped for it that is in use"
    desk.ask(A)
    assert desk.news() == ["grant a"], "nor is it kept for it"


@pytest.mark.rule("L84")
@pytest.mark.parametrize("how", ["it crashes", "it is unloaded", "who holds it leaves"])
def test_whatever_gives_room_lets_in_everybody_for_whom_it_is_enough(how: str) -> None:
    """b and c may run beside each other, d beside neither."""
    desk = Desk.of(Evicts({B: [A, D], C: [A, D], D: [A, B, C]}))
    desk.have_ready(A)
    user = desk.ask(A)
    for model in (B, D, C):
        desk.ask(model)
    assert desk.news() == ["grant a"]
    match how:
        case "it crashes":
            desk.gone(A, RuntimeError("crashed"))
        case "it is unloaded":
            desk.unload(A)
            desk.gone(A)
        case _:
            desk.leave(user)
            desk.gone(A)
    assert [what for what in desk.news() if what != "stop a"] == ["launch b", "launch c"]


# -- failures, departures, limits ---------------------------------------------------------------------------


@pytest.mark.rule("L82", "L93")
def test_a_start_that_fails_is_told_to_each_who_waits_and_the_next_in_line_is_served() -> None:
    desk = Desk.of(ExclusivePlanner())
    tickets = [desk.ask(A) for _ in range(3)]
    other = desk.ask(B)
    failure = StartFailed(A, "no such file")
    desk.gone(A, failure)
    assert desk.news() == ["launch a", "refuse a", "refuse a", "refuse a", "launch b"]
    assert [desk.errors[ticket] for ticket in tickets] == [failure] * 3
    desk.ready(B)
    assert desk.granted == [other]


@pytest.mark.rule("L88")
def test_who_leaves_the_line_is_forgotten_and_the_others_are_served() -> None:
    desk = Desk.of(ExclusivePlanner())
    stays, leaves = desk.ask(A), desk.ask(A)
    queued = desk.ask(B)
    desk.leave(leaves, queued)
    desk.ready(A)
    assert desk.granted == [stays]
    desk.leave(stays)
    assert desk.news() == ["launch a", "grant a"], "nothing for b, which nobody waits for"


@pytest.mark.rule("L84", "L88")
def test_who_leaves_lets_in_whom_he_kept_out() -> None:
    """b is to drive out a, which is in use; c could run beside a, but not beside b."""
    planner = Evicts({B: [A, C], C: [B]})
    desk = Desk.of(planner)
    desk.have_ready(A)
    desk.ask(A)
    desk.now = 200.0
    overdue = desk.ask(B)
    desk.now = 200.0 + 121
    desk._do(desk.scheduler.on_tick(desk.now))
    desk.ask(C)
    assert desk.news() == ["grant a"]
    desk.leave(overdue)
    assert desk.news() == ["launch c"]


@pytest.mark.rule("L75")
@pytest.mark.parametrize("limit", [1, 2, 10])
def test_a_limit_counts_those_who_wait_for_the_load_and_those_who_use_it(limit: int) -> None:
    desk = Desk.of(ExclusivePlanner(), ModelSpec(A, concurrency=limit, max_waiting=0))
    admitted = [desk.ask(A) for _ in range(limit)]
    desk.ask(A)
    assert desk.news() == ["launch a", "refuse a"]
    desk.ready(A)
    desk.ask(A)
    assert desk.news() == [*["grant a"] * limit, "refuse a"]
    desk.leave(admitted[0])
    desk.ask(A)
    assert desk.news() == ["grant a"]


@pytest.mark.rule("L75", "L88")
def test_who_leaves_the_line_gives_his_place_back() -> None:
    desk = Desk.of(ExclusivePlanner(), ModelSpec(B, concurrency=1, max_waiting=0))
    desk.have_ready(A)
    desk.ask(A)
    first = desk.ask(B)
    desk.ask(B)
    assert desk.news() == ["grant a", "refuse b"]
    desk.leave(first)
    desk.ask(B)
    assert desk.news() == [], "it stands in line"
