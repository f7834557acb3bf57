"""The matrix against a program that simply multiplies every expression out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import example, given, settings, strategies as st

from swapcore import ModelId
from swapcore.planners import AllOf, AnyOf, Choice, Expression, Include, MatrixPlanner, Model

A, B, C, D, E, F, G = MODELS = [ModelId(name) for name in "abcdefg"]  # g is in no set
a, b, c, d, e, f = (Model(model) for model in MODELS[:6])
Sets = Mapping[str, Expression]


def alternatives(expression: Expression, sets: Sets) -> Iterator[frozenset[ModelId]]:
    match expression:
        case Model(model):
            yield frozenset({model})
        case Include(name):
            yield from alternatives(sets[name], sets)
        case AnyOf(parts):
            for part in parts:
                yield from alternatives(part, sets)
        case AllOf(parts):
            for chosen in itertools.product(*(list(alternatives(part, sets)) for part in parts)):
                yield frozenset().union(*chosen)


def included(expression: Expression) -> Iterator[str]:
    match expression:
        case Include(name):
            yield name
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from included(part)
        case Model():
            pass


def in_order(sets: Sets) -> list[str]:
    order: list[str] = []

    def place(name: str) -> None:
        for other in included(sets[name]):
            place(other)
        if name not in order:
            order.append(name)

    for name in sets:
        place(name)
    return order


def oracle(
    sets: Sets,
    costs: Mapping[ModelId, int],
    target: ModelId,
    running: list[ModelId],
    stopping: frozenset[ModelId],
    pinned: frozenset[ModelId],
) -> Choice:
    if target in running:
        running = [model for model in running if model not in stopping]
    others = [model for model in running if model != target]
    best: tuple[tuple[int, int, int], Choice] | None = None
    everything = [(name, one) for name in in_order(sets) for one in alternatives(sets[name], sets)]
    for name, alternative in [*everything, (None, frozenset({target}))]:
        if name is None and best is not None:
            break
        if target in alternative:
            gone = [model for model in others if model not in alternative]
            cost = sum(costs.get(model, 1) for model in gone if model not in stopping)
            kept_pins = sum(model in gone for model in pinned - stopping)
            # Costs of pinned models do not matter: none of them may go.
            unpinned = sum(costs.get(m, 1) for m in gone if m not in stopping and m not in pinned)
            price = (kept_pins, unpinned, sum(model in gone for model in stopping))
            if best is None or price < best[0]:
                stay = [model for model in others if model in alternative]
                best = price, Choice(name, (target, *stay), tuple(gone), cost)
    assert best is not None
    return best[1]


LEAVES: st.SearchStrategy[Expression] = st.sampled_from([a, b, c, d, e, f])


def expressions(leaves: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    def several(
        part: st.SearchStrategy[Expression],
    ) -> st.SearchStrategy[Expression]:
        parts = st.lists(part, min_size=1, max_size=3).map(tuple)
        return parts.map(AllOf) | parts.map(AnyOf)

    return st.recursive(leaves, several, max_leaves=8)


@st.composite
def matrices(draw: st.DrawFn) -> Sets:
    """Sets that include earlier ones, in an order of their own."""
    sets: dict[str, Expression] = {}
    for name in draw(st.permutations(["p", "q", "r"])):
        leaves = LEAVES | st.sampled_from([Include(other) for other in sets]) if sets else LEAVES
        sets[name] = draw(expressions(leaves))
    return {name: sets[name] for name in draw(st.permutations(list(sets)))}


def count(expression: Expression, sets: Sets) -> int:
    match expression:
        case Model():
            return 1
        case Include(name):
            return count(sets[name], sets)
        case AnyOf(parts):
            return sum(count(part, sets) for part in parts)
        case AllOf(parts):
            return math.prod(count(part, sets) for part in parts)


# The oracle lists them all.
MATRICES = matrices().filter(lambda sets: all(count(sets[name], sets) <= 2000 for name in sets))
SUBSETS = st.frozensets(st.sampled_from(MODELS))


@settings(max_examples=250)
@given(
    sets=MATRICES,
    costs=st.dictionaries(st.sampled_from(MODELS), st.integers(1, 3)),
    target=st.sampled_from(MODELS),
    running=st.lists(st.sampled_from(MODELS), unique=True),
    stopping=st.just(frozenset[ModelId]()) | SUBSETS,
    pinned=st.just(frozenset[ModelId]()) | SUBSETS,
)
# What is dropped too early changes who wins a tie: a & b replaces a, until b comes anyway; then a is first.
@pytest.mark.rule("C104")
@example({"p": f & (a | c | a & b) & (b | d)}, {}, F, [A, B, C], frozenset(), frozenset())
@example({"p": f & (b | a) & (a | c | b)}, {B: 2}, F, [A, B, C], frozenset(), frozenset())
def test_l116_l117_l118_every_choice_is_that_of_the_expression_multiplied_out(
    sets: Sets,
    costs: dict[ModelId, int],
    target: ModelId,
    running: list[ModelId],
    stopping: frozenset[ModelId],
    pinned: frozenset[ModelId],
) -> None:
    stopping, pinned = stopping & set(running), pinned & set(running) - stopping - {target}
    choice = MatrixPlanner(sets, costs).choose(target, running, stopping=stopping, pinned=pinned)
    assert choice == oracle(sets, costs, target, running, stopping, pinned)


@settings(max_examples=80)
@given(sets=MATRICES, models=SUBSETS)
def test_l120_fitting_together_is_being_part_of_an_alternative(
    sets: Sets, models: frozenset[ModelId]
) -> None:
    truth = any(models <= one for name in sets for one in alternatives(sets[name], sets))
    assert MatrixPlanner(sets).fits_together(models) == truth
