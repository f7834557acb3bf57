"""What the planner would do if: the real planner, asked about fleets that do not run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from swapcore import FleetView, ModelId, ModelSpec, ModelView, ProcState, Refusal, SwapPlanner


@attrs.frozen
class Outcome:
    """What a request for a model would do to those that run."""

    stops: tuple[ModelId, ...] = ()
    refusal: str = ""
    """Why the request would be turned away; empty when it would not."""

    @property
    def is_free(self) -> bool:
        """Nobody has to go."""
        return not self.stops and not self.refusal


@attrs.frozen(eq=False)
class _Models(Mapping[ModelId, ModelView]):
    """Every model of a fleet, of which some run: ready and unused, the first one for the longest time."""

    specs: Mapping[ModelId, ModelSpec]
    running: Mapping[ModelId, int]

    def __getitem__(self, model: ModelId) -> ModelView:
        spec, place = self.specs[model], self.running.get(model)
        if place is None:
            return ModelView(model, pinned=spec.pinned)
        idle_for = float(len(self.running) - place)
        return ModelView(model, state=ProcState.READY, pinned=spec.pinned, idle_for=idle_for)

    def __iter__(self) -> Iterator[ModelId]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)


class WhatIf:
    """One planner and the models that it plans for."""

    def __init__(self, planner: SwapPlanner, specs: Iterable[ModelSpec]) -> None:
        self._planner = planner
        self.specs = {spec.id: spec for spec in specs}
        self._first: dict[ModelId, bool] = {}

    def requested(self, target: ModelId, running: Sequence[ModelId]) -> Outcome:
        """What a request for *target* would do while *running* run, which were started in that order.

        Raises nothing: what the planner raises is the reason for a refusal, as in the server.
        """
        models = _Models(self.specs, {model: place for place, model in enumerate(running)})
        view = FleetView(running=tuple(running), models=models)
        try:
            plan = self._planner.evictions(target, view)
            if isinstance(plan, Refusal):
                return Outcome(refusal=plan.reason)
            evicted = frozenset(plan.evict)
            stops = tuple(model for model in running if model in evicted and model != target)
        except Exception as error:  # a user's code: anything may come out of it
            return Outcome(refusal=f"{type(self._planner).__name__} failed: {type(error).__name__}: {error}")
        if pinned := [model for model in stops if self.specs[model].pinned]:
            return Outcome(refusal=f"{' and '.join(pinned)} would have to stop, and may not: pinned")
        return Outcome(stops)

    def can_start(self, models: Sequence[ModelId]) -> bool:
        """Whether *models*, started in that order, end up running all together."""
        first = models[0]
        if first not in self._first:  # asked for each pair
            self._first[first] = self.requested(first, ()).is_free
        return self._first[first] and all(
            self.requested(models[place], models[:place]).is_free for place in range(1, len(models))
        )

    def startable_beside(self, target: ModelId, others: Sequence[ModelId]) -> Iterator[ModelId]:
        """Those of *others* each of which *target* can be started beside, in their order.

        Far fewer questions than there are models where few may run together: a planner that would stop all of
        several models stops each of them if it runs alone.
        """
        if not others or not self.can_start((target,)):
            return
        outcome = self.requested(target, others)
        if len(others) == 1:
            if outcome.is_free and self.can_start(others):
                yield others[0]
        elif outcome.refusal or len(outcome.stops) < len(others):
            half = len(others) // 2
            yield from self.startable_beside(target, others[:half])
            yield from self.startable_beside(target, others[half:])

    def sets(self) -> Iterator[tuple[ModelId, ...]]:
        """Models that may run together, two at least, each set as large as can be, in an order of starting.

        Every two models that may run together are in one of them. The fewest sets that this takes are not
        looked for, nor every set that there is.
        """
        found: list[frozenset[ModelId]] = []
        places = {model: place for place, model in enumerate(self.specs)}
        for target in self.specs:
            others = [model for model in self.specs if model != target]
            for other in self.startable_beside(target, others):
                pair = (other, target)
                if any(models.issuperset(pair) for models in found):
                    continue
                in_order = tuple(sorted(pair, key=places.__getitem__))
                grown = self._grown(in_order if self.can_start(in_order) else pair)
                found.append(frozenset(grown))
                yield grown

    def _grown(self, models: tuple[ModelId, ...]) -> tuple[ModelId, ...]:
        """*models* and all that can be added to them, each started after them or else before them."""
        for model in self.specs:
            if model in models:
                continue
            if self.requested(model, models).is_free:
                models = (*models, model)
            elif self.can_start((model, *models)):
                models = (model, *models)
        return models
