"""Which models may run together, and what a request for one would stop, in plain words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from itertools import islice

from swapcore import ModelId, SwapPlanner

from ._check_what_if import WhatIf
from .config import Configuration, to_specs

_MOST_SETS = 20
_WIDTH = 100


class NotExplained(Exception):
    """The name is none of a local model; ``str()`` says what it is instead."""


def explain(config: Configuration, planner: SwapPlanner, name: str = "") -> str:
    """The answers of *planner*, as text of several lines.

    Args:
      name: a model, an alias or a selector; empty: the fleet as a whole.
    Raises:
      NotExplained: there is nothing to say about *name*.
    """
    what_if = WhatIf(planner, to_specs(config))
    models = _models_named(config, name) if name else []
    sections = [_fleet(config, what_if)] if not name else [_model(what_if, model) for model in models]
    return "\n\n".join("\n".join(_wrapped(section)) for section in sections)


def _models_named(config: Configuration, name: str) -> list[ModelId]:
    if (model := config.resolve(name)) is not None:
        return [ModelId(model)]
    if (peer := config.resolve_peer(name)) is not None:
        raise NotExplained(f"{name!r} is a model of the peer {peer[0]}: nothing is started or stopped for it")
    if name in config.selectors:
        targets = map(config.resolve, config.selectors[name].targets)
        return [ModelId(target) for target in targets if target is not None]
    raise NotExplained(f"no model {name!r}; there are: {', '.join(config.models) or 'none'}")


def _fleet(config: Configuration, what_if: WhatIf) -> Iterator[str]:
    yield f"Decided by: {_router(config)}."
    sets = list(islice(what_if.sets(), _MOST_SETS + 1))
    if sets:
        yield "These may run together:"
    yield from (f"  - {_set(what_if, models)}" for models in sets[:_MOST_SETS])
    if len(sets) > _MOST_SETS:
        yield "  - and more"
        return
    social = {model for models in sets for model in models}
    if alone := [model for model in what_if.specs if model not in social]:
        yield f"Only one at a time, and nothing beside it: {', '.join(alone)}."
    if not what_if.specs:
        yield "There are no models."


def _set(what_if: WhatIf, models: tuple[ModelId, ...]) -> str:
    order_matters = not what_if.can_start(models[::-1])
    return ", ".join(models) + (" (started in this order)" if order_matters else "")


def _router(config: Configuration) -> str:
    router = config.routing.router
    return (
        f"the planner {router.planner}" if router.planner else {"group": "groups"}.get(router.use, router.use)
    )


def _model(what_if: WhatIf, target: ModelId) -> Iterator[str]:
    others = [model for model in what_if.specs if model != target]
    alone = what_if.requested(target, ())
    if alone.refusal:
        yield f"A request for {target} is turned away: {alone.refusal}."
        return
    outcomes = {other: what_if.requested(target, (other,)) for other in others}
    yield f"A request for {target}"
    yield f"  - stops, if they run: {_names(o for o in others if outcomes[o].stops)}."
    yield f"  - leaves running: {_names(o for o in others if outcomes[o].is_free)}."
    evicts = any(outcome.stops for outcome in outcomes.values())
    for other in others:
        if outcomes[other].refusal:
            yield f"  - is turned away while {other} runs: {outcomes[other].refusal}."
    # Of several at once it may decide differently: that is what a limit or the costs of a matrix are for.
    sets = list(islice(what_if.sets(), _MOST_SETS + 1))
    for models in sets[:_MOST_SETS]:
        running = [model for model in models if model != target]
        outcome = what_if.requested(target, running)
        expected = tuple(model for model in running if outcomes[model].stops)
        if outcome.refusal and not any(outcomes[model].refusal for model in running):
            yield f"  - is turned away while {_names(running)} run: {outcome.refusal}."
        elif not outcome.refusal and outcome.stops != expected:
            evicts = evicts or bool(outcome.stops)
            yield f"  - while {_names(running)} run, stops {_names(outcome.stops)}."
    together = [models for models in sets[:_MOST_SETS] if target in models]
    yield "It may run together with" + (":" if together else f" {_names(())}.")
    yield from (f"  - {_names(m for m in models if m != target)}" for models in together)
    if len(sets) > _MOST_SETS:
        yield "  - and perhaps more: only the first sets of models were looked at"
    if evicts:
        yield "A model that is in use is stopped once its requests are done."


def _names(models: Iterable[str]) -> str:
    return ", ".join(models) or "nobody"


def _wrapped(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        indent = "    " if line.startswith("  - ") else "  "
        yield textwrap.fill(
            line, _WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
        )
