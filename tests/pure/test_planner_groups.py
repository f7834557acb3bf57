"""The group policy, rule by rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, strategies as st

from swapcore import ExclusivePlanner, FleetView, ModelId, ModelView
from swapcore.planners import Group, GroupsPlanner

A, B, C, D, E, F = MODELS = [ModelId(name) for name in "abcdef"]


def evicted(groups: Mapping[str, Group], target: ModelId, running: Sequence[ModelId]) -> Sequence[ModelId]:
    return GroupsPlanner(groups).evictions(target, FleetView(running=running)).evict


def test_l105_defaults() -> None:
    group = Group((A,))
    assert (group.swap, group.exclusive, group.persistent) == (True, True, False)
    assert Group([A, B]).members == (A, B), "a list from a file will do"


def test_l105_a_model_in_two_groups_is_an_error_that_names_all_three() -> None:
    with pytest.raises(ValueError, match=r"model 'b' is in groups 'left' and 'right'"):
        GroupsPlanner({"left": Group((A, B)), "right": Group((C, B))})


def test_l105_a_model_twice_in_a_group_is_an_error_that_names_both() -> None:
    with pytest.raises(ValueError, match=r"model 'b' is in group 'left' twice"):
        GroupsPlanner({"left": Group((B, A, B))})


@given(target=st.sampled_from(MODELS), running=st.lists(st.sampled_from(MODELS), unique=True))
def test_l105_without_groups_one_model_runs_at_a_time(target: ModelId, running: list[ModelId]) -> None:
    view = FleetView(running=running)
    assert GroupsPlanner({}).evictions(target, view).evict == ExclusivePlanner().evictions(target, view).evict


def test_l105_models_in_no_group_are_a_group_that_swaps_and_is_exclusive() -> None:
    groups = {"side": Group((A, B), swap=False, exclusive=False)}
    assert evicted(groups, C, [A, B, D]) == (A, B, D)
    assert evicted(groups, A, [B, C]) == ()
    persistent = {"side": Group((A, B), swap=False, persistent=True)}
    assert evicted(persistent, C, [A, B, D]) == (D,)
    assert evicted(persistent, A, [B, C]) == (C,)


def test_l105_the_group_of_all_others_can_be_set_by_its_name() -> None:
    groups = {"side": Group((A,), exclusive=False), "(default)": Group(exclusive=False, swap=False)}
    assert evicted(groups, C, [A, B, D]) == ()
    assert GroupsPlanner(groups).group_of(C) == "(default)"


FLAGS = st.builds(Group, swap=st.booleans(), exclusive=st.booleans(), persistent=st.booleans())


@pytest.mark.rule("C89")
@given(left=FLAGS, right=FLAGS, target=st.sampled_from(MODELS), running=st.lists(st.sampled_from(MODELS)))
def test_l106_only_the_target_s_swap_and_exclusive_and_the_other_s_persistent_matter(
    left: Group, right: Group, target: ModelId, running: list[ModelId]
) -> None:
    flags = {"left": left, "right": right, "(default)": Group()}
    where = {A: "left", B: "left", C: "right", D: "right", E: "(default)", F: "(default)"}
    groups = {
        name: Group(
            tuple(m for m in where if where[m] == name),
            swap=flags[name].swap,
            exclusive=flags[name].exclusive,
            persistent=flags[name].persistent,
        )
        for name in ("left", "right")
    }

    def gives_way(model: ModelId) -> bool:
        if model == target:
            return False
        if where[model] == where[target]:
            return flags[where[target]].swap
        return flags[where[target]].exclusive and not flags[where[model]].persistent

    assert evicted(groups, target, running) == tuple(model for model in running if gives_way(model))


def test_l107_exclusivity_is_one_way() -> None:
    groups = {"big": Group((A,)), "small": Group((B,), exclusive=False)}
    assert evicted(groups, B, [A]) == (), "loading the small one leaves the big one alone"
    assert evicted(groups, A, [B]) == (B,), "in the other order it goes"


def test_l107_persistence_protects_against_other_groups_only() -> None:
    groups = {"kept": Group((A, B), persistent=True)}
    assert evicted(groups, C, [A]) == ()
    assert evicted(groups, B, [A]) == (A,)


def test_l108_the_policy_applies_to_a_target_that_runs() -> None:
    groups = {"big": Group((A,)), "small": Group((B,), exclusive=False)}
    assert evicted(groups, A, [A, B]) == (B,)
    assert evicted({}, A, [B, A, C]) == (B, C)


def test_l109_and_l110_a_member_that_is_no_model_changes_nothing_for_the_others() -> None:
    """Whoever knows the models has to tell the user; a planner does not."""
    with_alias = {"side": Group((A, ModelId("an alias of b")), exclusive=False)}
    for target in (A, B):
        for running in ([A, C], [B, C], [A, B, C]):
            assert evicted(with_alias, target, running) == evicted(
                {"side": Group((A,), exclusive=False)}, target, running
            )


def test_the_reason_names_the_target_its_group_and_who_goes() -> None:
    planner = GroupsPlanner({"chat": Group((A, B))})
    assert planner.evictions(A, FleetView(running=[B, C])).reason == "a of group chat excludes b, c"


def test_one_group_is_named_once_in_a_round_however_many_wait() -> None:
    """All of a group have the same models in their way; those of another group are still asked about."""
    planner = GroupsPlanner({"side": Group((E, F), swap=False, exclusive=False)})
    waits = {model: ModelView(model, waiting=1) for model in MODELS}
    view = FleetView(running=[D], waiting=[B, C, E, F], promised={A}, models=waits)
    assert planner.choose_next(view) == E, "a was named and does not run: b and c could not either"
    assert planner.choose_next(FleetView(running=[D], waiting=[B, C], promised={A, E}, models=waits)) is None
    got_in = FleetView(running=[D, A], waiting=[B, C], promised={A}, models=waits)
    assert planner.choose_next(got_in) == B, "it was carried out, so the answer may be another now"
    turned_away = FleetView(running=[D], waiting=[B, C], promised={A}, models={**waits, A: ModelView(A)})
    assert planner.choose_next(turned_away) == B, (
        "whoever is refused hears of it at once, one after the other"
    )
