"""What ``GET /api/fleet`` answers: every model and the newest swaps, as plain data. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from swapcli.config import Configuration
from swapcore import ModelId, ModelStatistics, ProcState, SwapEnded


@attrs.frozen
class Moment:
    """Everything the report is made of, taken at one time."""

    now: float
    """Seconds on the trio clock."""
    models: Mapping[ModelId, ModelStatistics]
    changed_at: Mapping[ModelId, float]
    memory: Mapping[ModelId, int]
    """Bytes, of the models of which that is known."""
    swaps: Iterable[SwapEnded]


def fleet_report(config: Configuration, moment: Moment) -> dict[str, Any]:
    """Return the answer: models in the order of the configuration, swaps from the newest to the oldest."""
    records = [
        _model(id, config.models[id].name, moment.models[id], moment)
        for id in map(ModelId, config.models)
        if id in moment.models
    ]
    return {
        "models": records,
        "leases": sum(record["leases"] for record in records),
        "waiting": sum(record["waiting"] for record in records),
        "swaps": [_swap(swap, moment.now) for swap in reversed(list(moment.swaps))],
    }


def _model(id: ModelId, name: str, model: ModelStatistics, moment: Moment) -> dict[str, Any]:
    since = moment.changed_at.get(id)
    return {
        "id": id,
        "name": name,
        "state": model.state.value,
        "seconds_in_state": None if since is None else _rounded(moment.now - since),
        "leases": model.leases,
        "waiting": model.waiting,
        "pinned": model.pinned,
        "memory_bytes": None if model.state is ProcState.STOPPED else moment.memory.get(id),
        "starts": model.starts,
        "requests": model.granted,
        "crashes": model.crashes,
        "load_seconds": _rounded(model.load_seconds),
        "stop_seconds": _rounded(model.stop_seconds),
        "request_seconds": _rounded(model.lease_seconds),
    }


def _swap(swap: SwapEnded, now: float) -> dict[str, Any]:
    return {
        "seconds_ago": _rounded(now - swap.at),
        "target": swap.target,
        "evicted": swap.evicted,
        "reason": swap.reason,
        "stop_seconds": _rounded(swap.stop_seconds),
        "load_seconds": _rounded(swap.load_seconds),
        "error": None if swap.error is None else str(swap.error),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
