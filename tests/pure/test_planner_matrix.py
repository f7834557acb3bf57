"""The matrix policy, rule by rule. What it decides in general is in test_planner_matrix_oracle.py."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import pytest

from swapcore import FleetView, ModelId, ModelView, ProcState, SwapPlan
from swapcore.planners import AllOf, AnyOf, Choice, Include, MatrixPlanner, Model
from swapcore.planners._alternatives import MAX_OPTIONS

A, B, C, D, E, F, G, X = MODELS = [ModelId(name) for name in "abcdefgx"]
a, b, c, d, e, f, g = (Model(model) for model in MODELS[:7])


def names(prefix: str, count: int) -> list[ModelId]:
    return [ModelId(f"{prefix}{n}") for n in range(count)]


def evicted(planner: MatrixPlanner, target: ModelId, running: Sequence[ModelId]) -> Sequence[ModelId]:
    return planner.evictions(target, FleetView(running=running)).evict


def test_l111_a_model_without_a_cost_costs_1() -> None:
    planner = MatrixPlanner({"s": a & b, "t": a & c}, {B: 1})
    assert planner.choose(A, [B, C]) == Choice("s", (A, B), (C,), 1)
    assert MatrixPlanner({"s": a & b, "t": a & c}, {C: 3}).choose(A, [B, C]) == Choice("t", (A, C), (B,), 1)


@pytest.mark.parametrize("cost", [0, -2])
def test_l111_a_cost_below_1_is_an_error(cost: int) -> None:
    with pytest.raises(ValueError, match=f"the cost of 'a' must be 1 or more, not {cost}"):
        MatrixPlanner({"s": a}, {A: cost})


def test_l112_a_matrix_has_a_set() -> None:
    with pytest.raises(ValueError, match="at least one set"):
        MatrixPlanner({})


@pytest.mark.parametrize("kind", [AllOf, AnyOf])
def test_l112_an_expression_has_parts(kind: type[AllOf | AnyOf]) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__} needs at least one part"):
        kind(())


def test_l112_an_include_must_lead_somewhere() -> None:
    with pytest.raises(ValueError, match="set 's' includes 't', which is no set"):
        MatrixPlanner({"s": a & Include("t")})


@pytest.mark.parametrize(
    ("sets", "circle"),
    [
        ({"s": a | Include("s")}, "s -> s"),
        ({"s": a | Include("t"), "t": b & (c | Include("u")), "u": Include("t")}, "t -> u -> t"),
    ],
)
def test_l112_an_include_must_not_lead_in_a_circle(
    sets: dict[str, AllOf | AnyOf | Include], circle: str
) -> None:
    with pytest.raises(ValueError, match=f"the set includes itself: {circle}"):
        MatrixPlanner(sets)


def test_l112_what_is_no_expression_is_an_error() -> None:
    with pytest.raises(TypeError, match="'b' in set 's' is no expression"):
        MatrixPlanner({"s": a & "b"})  # type: ignore[operator]


def test_l112_and_binds_tighter_than_or() -> None:
    assert a | b & c == AnyOf((a, AllOf((b, c))))
    assert a & b & c | d | e == AnyOf((AllOf((a, b, c)), d, e))
    assert (a | b) & c == AllOf((AnyOf((a, b)), c))


def test_l113_an_expression_is_a_family_of_sets() -> None:
    planner = MatrixPlanner({"s": (a | b) & (c | d) | e, "t": Include("s") & f})
    together = [{A, C}, {A, D}, {B, C}, {B, D}, {E}, {A, C, F}, {B, D, F}, {E, F}]
    apart = [{A, B}, {C, D}, {A, E}, {A, B, C}, {E, C, F}, {X}, {A, X}]
    assert all(planner.fits_together(models) for models in together)
    assert not any(planner.fits_together(models) for models in apart)


def test_l113_a_set_combined_with_itself_gives_pairs() -> None:
    planner = MatrixPlanner({"one": a | b | c, "two": Include("one") & Include("one")})
    assert planner.fits_together([A, C])
    assert not planner.fits_together([A, B, C])
    assert planner.choose(A, [B, C]) == Choice("two", (A, B), (C,), 1)


def test_l114_any_part_of_a_set_may_run_and_the_rest_of_it_is_not_started() -> None:
    planner = MatrixPlanner({"s": a & b & c & d})
    assert planner.choose(A, [C]) == Choice("s", (A, C), (), 0)
    assert planner.choose(A, []) == Choice("s", (A,), (), 0)


def test_l115_a_target_that_runs_evicts_nothing_while_all_that_run_fit_together() -> None:
    planner = MatrixPlanner({"s": a & b & c, "t": a & d})
    assert evicted(planner, A, [A, B, C]) == ()
    assert evicted(planner, X, [X]) == (), "alone it fits, whatever the sets say"


def test_l115_a_forbidden_combination_is_resolved_when_one_of_it_is_asked_for() -> None:
    """Here we do better: llama-swap would leave them."""
    planner = MatrixPlanner({"s": a & b, "t": a & c & d})
    assert evicted(planner, A, [A, B, C, D]) == (B,)
    assert evicted(planner, B, [A, B, C, D]) == (C, D)
    assert evicted(planner, X, [A, X]) == (A,)


def test_l116_exactly_the_running_models_outside_the_cheapest_set_go() -> None:
    planner = MatrixPlanner({"s": a & (b | c & d)}, {B: 3, C: 1, D: 1})
    assert planner.choose(A, [B, C, D]) == Choice("s", (A, B), (C, D), 2)
    assert planner.choose(A, [D, C, B, E]) == Choice("s", (A, B), (D, C, E), 3), "in the order they run in"
    dearer = MatrixPlanner({"s": a & (b | c & d)}, {B: 3, C: 3, D: 1})
    assert dearer.choose(A, [B, C, D]) == Choice("s", (A, C, D), (B,), 3)


def test_l117_of_equal_costs_the_first_set_wins() -> None:
    assert MatrixPlanner({"s": a & b, "t": a & c}).choose(A, [B, C]).set == "s"
    assert MatrixPlanner({"t": a & c, "s": a & b}).choose(A, [B, C]).set == "t"


def test_l117_within_a_set_the_left_one_wins() -> None:
    assert evicted(MatrixPlanner({"s": a & (b | c)}), A, [B, C]) == (C,)
    assert evicted(MatrixPlanner({"s": a & (c | b)}), A, [B, C]) == (B,)
    assert evicted(MatrixPlanner({"s": (b | c) & (d | e) & a}), A, [B, C, D, E]) == (C, E)


def test_l117_a_set_stands_after_those_that_it_includes() -> None:
    planner = MatrixPlanner({"outer": Include("inner") & a | a & c, "inner": a & b})
    assert planner.choose(A, [B, C]).set == "inner"
    chain = MatrixPlanner({"z": Include("y") | a, "x": a, "y": Include("x")})
    assert chain.choose(A, []).set == "x"


def test_l118_a_smaller_set_that_ties_only_in_the_end_still_wins_its_tie() -> None:
    """``b`` is less than ``b & c`` until the rest of the expression brings c, too; then it comes first."""
    planner = MatrixPlanner({"s": a & (b | d | b & c) & (c | e)})
    assert planner.choose(A, [B, C, D]) == Choice("s", (A, B, C), (D,), 1)
    order = MatrixPlanner({"s": a & (b | c | b & d) & (d | e)}, {C: 1, B: 1, D: 1})
    assert order.choose(A, [B, C, D]) == Choice("s", (A, B, D), (C,), 1)


def test_l119_a_target_in_no_set_runs_alone() -> None:
    planner = MatrixPlanner({"s": a & b})
    assert planner.choose(X, [A, B, G]) == Choice(None, (X,), (A, B, G), 3)


def test_l119_a_running_model_in_no_set_goes_for_any_other() -> None:
    assert MatrixPlanner({"s": a & b}).choose(A, [X, B]) == Choice("s", (A, B), (X,), 1)


def test_l120_a_million_combinations_are_decided_in_no_time() -> None:
    columns = [names(f"g{n}m", 10) for n in range(6)]
    planner = MatrixPlanner(
        {"all": AllOf(tuple(AnyOf(tuple(map(Model, column))) for column in columns))}, {columns[3][4]: 7}
    )
    running = [column[4] for column in columns]
    start = perf_counter()
    assert evicted(planner, columns[3][9], running) == (columns[3][4],)
    assert planner.fits_together([column[9] for column in columns])
    assert not planner.fits_together([columns[0][1], columns[0][2]])
    assert perf_counter() - start < 0.05


def test_l120_more_models_than_bits_in_a_word() -> None:
    many = names("m", 100)
    others = names("o", 100)
    pairs = AllOf(tuple(Model(m) | Model(o) for m, o in zip(many, others, strict=True)))
    planner = MatrixPlanner({"all": AllOf(tuple(map(Model, many))), "pairs": pairs})
    assert evicted(planner, many[0], many[1:]) == ()
    assert planner.fits_together(many)
    assert planner.choose(others[0], many) == Choice("pairs", (others[0], *many[1:]), (many[0],), 1)
    assert not planner.fits_together([others[0], *many])


def test_l120_sets_that_include_each_other_twice_do_not_grow() -> None:
    """Spelled out, the last set has 2 ** 40 parts."""
    sets: dict[str, AllOf | AnyOf] = {"s0": a | b}
    for n in range(40):
        sets[f"s{n + 1}"] = Include(f"s{n}") & Include(f"s{n}")
    planner = MatrixPlanner({**sets, "other": c & d})
    assert planner.choose(A, [B, C]) == Choice("s1", (A, B), (C,), 1)
    assert planner.fits_together([A, B])
    assert not planner.fits_together([A, C])


def test_l120_too_many_partial_answers_cost_time_bounded_and_no_wrong_answer() -> None:
    """Any 12 of 24, all of them running: there is no cheap way to be sure of the first of the best."""
    models = names("m", 24)
    one = AnyOf(tuple(map(Model, models)))
    planner = MatrixPlanner({"any": AllOf((one,) * 12)})
    start = perf_counter()
    choice = planner.choose(models[20], models)
    assert perf_counter() - start < 10
    assert len(choice.together) == 12
    assert choice.together[0] == models[20]
    assert set(choice.together) | set(choice.evict) == set(models)
    assert planner.fits_together(models[:3])
    with pytest.raises(OverflowError, match="whether 13 models fit together"):
        planner.fits_together(models[:13])
    assert len(models) ** 2 > MAX_OPTIONS


def test_l121_the_reason_names_target_set_and_who_stays_who_goes_and_what_it_costs() -> None:
    plan = MatrixPlanner({"day": a & b & c}, {D: 4}).evictions(A, FleetView(running=[B, D, E]))
    assert plan == SwapPlan((D, E), "a in set day: {a, b} may run, evicts d, e, cost 5")
    assert MatrixPlanner({"day": a}).evictions(X, FleetView(running=[])).reason == (
        "x in no set: {x} may run, evicts nobody, cost 0"
    )


def fleet(*running: ModelView, waiting: Sequence[ModelId] = (), overdue: Sequence[ModelId] = ()) -> FleetView:
    models = {model: ModelView(model, waiting=1) for model in MODELS} | {model.id: model for model in running}
    return FleetView(running=[m.id for m in running], waiting=waiting, overdue=overdue, models=models)


def test_a_model_that_is_stopping_already_costs_nothing() -> None:
    planner = MatrixPlanner({"s": a & b, "t": a & c}, {B: 9})
    going = ModelView(B, state=ProcState.STOPPING)
    plan = planner.evictions(A, fleet(going, ModelView(C)))
    assert plan.evict == (B,), "c need not go for the sake of one that goes anyway"
    assert plan.reason.endswith("cost 0")
    assert planner.evictions(A, fleet(going)).evict == (), "and if it does not matter, it is not waited for"


def test_a_model_that_runs_need_not_wait_for_one_that_is_leaving() -> None:
    planner = MatrixPlanner({"any two": (a | b | c) & (a | b | c)})
    leaving, loading = ModelView(B, state=ProcState.STOPPING), ModelView(C, waiting=1)
    assert planner.evictions(A, fleet(ModelView(A), leaving, loading)).evict == ()


def test_a_pinned_model_stays_whatever_the_others_cost() -> None:
    planner = MatrixPlanner({"s": a & b, "t": a & c & d}, {C: 50, D: 50})
    pinned = ModelView(B, pinned=True)
    assert planner.evictions(A, fleet(pinned, ModelView(C), ModelView(D))).evict == (C, D)
    assert planner.evictions(E, fleet(pinned)).evict == (B,), "no choice: the supervisor refuses that"


def test_who_excludes_what_cannot_go_is_not_named() -> None:
    planner = MatrixPlanner({"s": a & b, "t": c | d, "u": a & e})
    busy = ModelView(A, state=ProcState.READY, leases=1)
    assert planner.choose_next(fleet(busy, waiting=[C, X, B])) == B
    assert planner.choose_next(fleet(busy, waiting=[C, X, D])) is None
    idle = ModelView(A, state=ProcState.READY, idle_for=1)
    assert planner.choose_next(fleet(idle, waiting=[C, X, B])) == C


def test_who_is_overdue_is_named_so_that_busy_models_are_closed_for_it() -> None:
    planner = MatrixPlanner({"s": a & b, "t": c | d})
    busy = ModelView(A, state=ProcState.READY, leases=1)
    view = fleet(busy, waiting=[B, C, D], overdue=[C, D])
    assert planner.choose_next(view) == C
    named = FleetView(
        running=view.running, waiting=[B, D], overdue=[D], promised=frozenset({C}), models=view.models
    )
    assert planner.choose_next(named) == B, "d excludes c, which is ahead of it"


def test_who_is_overdue_is_named_if_it_fits_beside_one_that_was_named_in_vain() -> None:
    planner = MatrixPlanner({"s": a & b, "t": c & d | e})
    busy = ModelView(A, state=ProcState.READY, leases=1)
    view = fleet(busy, waiting=[C, D, E], overdue=[C, D, E])
    one = FleetView(
        running=view.running, waiting=[E, D], overdue=[E, D], promised=frozenset({C}), models=view.models
    )
    assert planner.choose_next(one) == D, "it may hold room beside c; e could not"
    two = FleetView(running=view.running, waiting=[E, D], overdue=[D], promised={C, E}, models=view.models)
    assert planner.choose_next(two) == D, "for all it knows only one of c and e holds room"


def test_who_excludes_a_model_that_is_promised_is_not_named() -> None:
    planner = MatrixPlanner({"s": a & b, "t": c | d})
    loading = ModelView(A, state=ProcState.STARTING, waiting=1)
    view = fleet(loading, waiting=[C, B])
    promised = FleetView(
        running=view.running, waiting=view.waiting, promised=frozenset({A}), models=view.models
    )
    assert planner.choose_next(promised) == B
    assert planner.choose_next(view) == C, "it is being loaded for nobody"


def test_an_overdue_model_that_was_passed_over_is_not_named_among_the_others() -> None:
    planner = MatrixPlanner({"s": a & b, "t": a & c})
    idle = ModelView(A, state=ProcState.READY, idle_for=1)
    models = fleet(idle).models
    view = FleetView(running=[A], waiting=[B, D], overdue=[B], promised={C}, models=models)
    assert planner.choose_next(view) == D, "b excludes c, which was named before it and waits"


def test_with_several_pinned_models_everybody_is_named_and_asked_about() -> None:
    planner = MatrixPlanner({"s": a & b & c, "t": a & d, "u": b & d})
    busy = ModelView(C, state=ProcState.READY, leases=1)
    pinned = [ModelView(m, state=ProcState.READY, idle_for=1, pinned=True) for m in (A, B)]
    assert planner.choose_next(fleet(busy, *pinned, waiting=[D])) == D, "beside either of them, not both"
    assert planner.choose_next(fleet(busy, pinned[0], waiting=[D])) is None


def test_who_excludes_a_pinned_model_is_named_and_so_refused_at_once() -> None:
    planner = MatrixPlanner({"s": a & b, "t": c | d})
    busy = ModelView(A, state=ProcState.READY, leases=1, pinned=True)
    assert planner.choose_next(fleet(busy, waiting=[C, B])) == C
