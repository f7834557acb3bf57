"""Sets of models that may run together, as expressions; the cheapest way to make room is chosen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import attrs

from .._planner import SwapPlan, SwapPlanner
from .._spec import ModelId
from .._states import ProcState
from .._view import FleetView, ModelView
from ._alternatives import Node, Search, bits, companions, compile_sets, union
from ._in_line import named_in_vain, passing_over, view_of
from .expressions import AllOf, AnyOf, Expression, Model


@attrs.frozen
class Choice:
    """What a matrix decided for one target."""

    set: str | None
    """The set that was chosen; ``None``: the target is in no set, and runs alone."""
    together: tuple[ModelId, ...]
    """The target, and the running models that stay beside it."""
    evict: tuple[ModelId, ...]
    cost: int
    """What the evicted models cost. Those that were stopping already cost nothing."""


@attrs.frozen
class MatrixPlanner(SwapPlanner):
    """llama-swap's matrix.

    ``MatrixPlanner({"coding": Model(QWEN) & (Model(BGE) | Model(RERANK)), "big": Model(LLAMA)}, {QWEN: 5})``

    Each set has alternatives, and the models of one alternative may run together,
    as may any part of them. Of all the alternatives that contain the target the one
    is chosen outside which the running models cost least; those outside are
    evicted. The first wins a tie: sets in the order in which they are given, but
    each after those that it includes, and within a set from left to right. A target
    in no set runs alone; a running model in no set is evicted for any other target.

    Args:
      sets: expressions by name.
      costs: what it costs to stop a model; 1 for one that is not named.
    Raises:
      ValueError: no sets, an `Include` that leads nowhere or in a circle, a cost below 1.
      TypeError: a set is no expression.
    """

    sets: Mapping[str, Expression]
    costs: Mapping[ModelId, int] = attrs.field(factory=dict[ModelId, int])
    _models: Sequence[ModelId] = attrs.field(init=False, repr=False, eq=False)
    _bit_of: Mapping[ModelId, int] = attrs.field(init=False, repr=False, eq=False)
    # In the order in which they are tried.
    _nodes: Mapping[str, Node] = attrs.field(init=False, repr=False, eq=False)
    _companions: Mapping[int, int] = attrs.field(init=False, repr=False, eq=False)
    _sets_with: Mapping[ModelId, Sequence[str]] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        if not self.sets:
            raise ValueError("a matrix needs at least one set")
        for model, cost in self.costs.items():
            if cost < 1:
                raise ValueError(f"the cost of {model!r} must be 1 or more, not {cost!r}")
        models = list(dict.fromkeys(m for expression in self.sets.values() for m in _models(expression)))
        bit_of = {model: 1 << at for at, model in enumerate(models)}
        nodes = compile_sets(self.sets, bit_of)
        sets_with = {m: [name for name, node in nodes.items() if node.members & bit_of[m]] for m in models}
        object.__setattr__(self, "_models", models)
        object.__setattr__(self, "_bit_of", bit_of)
        object.__setattr__(self, "_nodes", nodes)
        object.__setattr__(self, "_companions", companions(nodes.values()))
        object.__setattr__(self, "_sets_with", sets_with)

    def choose(
        self,
        target: ModelId,
        running: Collection[ModelId],
        *,
        stopping: Collection[ModelId] = (),
        pinned: Collection[ModelId] = (),
    ) -> Choice:
        """Decide for *target* beside *running* models; it may be one of them.

        Args:
          stopping: those of *running* that go anyway. They cost nothing, and decide only between equal costs.
          pinned: those of *running* that may not go. As few of them as possible are evicted, at any cost.
        """
        # Who leaves anyway is not in the way of a target that runs beside it already.
        leaving = stopping if target in running else ()
        others = [model for model in running if model != target and model not in leaving]
        worth = self._worth(target, others, stopping, pinned)
        most = sum(worth.values())
        best, chosen, kept = 0, None, 0
        if target in self._bit_of:
            search = Search(worth)
            for name in self._sets_with[target]:
                value, models = search.best(self._nodes[name])
                if value > best:
                    best, chosen, kept = value, name, models
                    if best == most:
                        break
        evict = tuple(model for model in others if not self._bit_of.get(model, 0) & kept)
        stay = tuple(model for model in others if self._bit_of.get(model, 0) & kept)
        cost = sum(self._cost(model) for model in evict if model not in stopping)
        return Choice(chosen, (target, *stay), evict, cost)

    def _worth(
        self,
        target: ModelId,
        others: Sequence[ModelId],
        stopping: Collection[ModelId],
        pinned: Collection[ModelId],
    ) -> Mapping[int, int]:
        """Say what it is worth to have each model in the choice.

        The target outweighs everything, a pinned model all that are not, a cost of 1 all that are stopping.
        """
        scale = len(others) + 1
        worth = {model: 1 if model in stopping else self._cost(model) * scale for model in others}
        above_costs = sum(worth.values()) + 1
        worth |= {model: above_costs for model in others if model in pinned}
        worth[target] = sum(worth.values()) + 1
        return {self._bit_of[model]: value for model, value in worth.items() if model in self._bit_of}

    def fits_together(self, models: Collection[ModelId]) -> bool:
        """Return whether one alternative of one set contains all of *models*.

        Raises:
          OverflowError: there are too many partial answers to be sure. It takes an expression that names many
            of *models* in many of its parts.
        """
        if any(model not in self._bit_of for model in models):
            return False
        worth = {self._bit_of[model]: 1 for model in models}
        wanted = sum(worth)
        search = Search(worth)
        for node in self._nodes.values():
            if wanted & ~node.members == 0 and search.best(node)[1] == wanted:
                return True
        if not search.is_exact:
            raise OverflowError(
                f"cannot tell whether {len(worth)} models fit together: too many combinations"
            )
        return False

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        seen = [view_of(model, view) for model in view.running]
        stopping = [model.id for model in seen if model.state is ProcState.STOPPING]
        choice = self.choose(target, view.running, stopping=stopping, pinned=_pinned(seen))
        together, evict = ", ".join(choice.together), ", ".join(choice.evict) or "nobody"
        where = f"in set {choice.set}" if choice.set is not None else "in no set"
        return SwapPlan(
            choice.evict, f"{target} {where}: {{{together}}} may run, evicts {evict}, cost {choice.cost}"
        )

    def choose_next(self, view: FleetView) -> ModelId | None:
        running = frozenset(view.running)
        if not running:
            return super().choose_next(view)
        seen = [view_of(model, view) for model in running]
        pinned, in_vain = _pinned(seen), named_in_vain(view)
        fixed = [
            m.id for m in seen if m.id in view.promised or (m.leases and m.state is not ProcState.STOPPING)
        ]
        # Who excludes a pinned model is refused, and hears of it when it is named. Only a search tells who
        # excludes several of them.
        not_refused = self._beside_each(pinned) if len(pinned) < 2 else 0
        # An overdue target that was named in vain keeps others out of its room already. To name another that
        # excludes it is of no use, nor is it to name one that excludes a model that cannot go now.
        hopeless = not_refused & ~self._beside_each(fixed)
        hopeless_if_overdue = not_refused & ~self._beside_any(in_vain) if in_vain else 0
        few = self._few(self._beside_each(()) & ~(hopeless & hopeless_if_overdue))
        if few is not None and not any(model in view.waiting for model in (*few, *running)):
            return None  # there is nobody to be found, however long the line
        overdue = frozenset(view.overdue)
        return super().choose_next(
            passing_over(
                view,
                lambda model: model in overdue or bool(self._bit(model) & hopeless),
                lambda model: bool(self._bit(model) & hopeless_if_overdue),
            )
        )

    def _few(self, models: int) -> Sequence[ModelId] | None:
        """Name *models* if it is quicker to ask about each of them than to walk the line; else ``None``."""
        if models & self._stranger or models.bit_count() > 32:
            return None
        return [self._models[bit.bit_length() - 1] for bit in bits(models)]

    def _beside_each(self, models: Iterable[ModelId]) -> int:
        """Return who is in some alternative with each one of *models*; everybody if there are none."""
        beside = (self._stranger << 1) - 1
        for model in models:
            beside &= self._companions.get(self._bit(model), 0)
        return beside

    def _beside_any(self, models: Iterable[ModelId]) -> int:
        return union(self._companions.get(self._bit(model), 0) for model in models)

    def _bit(self, model: ModelId) -> int:
        return self._bit_of.get(model, self._stranger)

    @property
    def _stranger(self) -> int:
        """The bit of all models that are in no set; they are beside nobody."""
        return 1 << len(self._bit_of)

    def _cost(self, model: ModelId) -> int:
        return self.costs.get(model, 1)


def _models(expression: Expression) -> Iterator[ModelId]:
    match expression:
        case Model(model):
            yield model
        case AllOf(parts) | AnyOf(parts):
            for part in parts:
                yield from _models(part)
        case _:
            pass


def _pinned(models: Iterable[ModelView]) -> list[ModelId]:
    return [model.id for model in models if model.pinned and model.state is not ProcState.STOPPING]
