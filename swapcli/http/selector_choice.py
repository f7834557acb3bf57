"""Which of a selector's targets a request gets. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from math import inf

import attrs

from .destinations import Target


class Readiness(Enum):
    READY = auto()
    STARTING = auto()
    """It starts, or somebody waits for it to."""
    COLD = auto()
    UNAVAILABLE = auto()
    """It is being stopped."""


@attrs.frozen
class Candidate:
    """A target as it is now."""

    target: Target
    readiness: Readiness
    load: int = 0
    """Requests that it has, those in line and those that come by other names included."""
    at_once: float = inf
    """Requests that it serves at the same time."""
    at_most: float = inf
    """Requests that it takes, those in line included."""


Turn = Callable[[int], int]
"""Whose turn it is among so many equals."""


def choose_warm(candidates: Sequence[Candidate]) -> Candidate:
    """The first that is ready; else the first that starts; else the first."""
    for readiness in (Readiness.READY, Readiness.STARTING):
        for candidate in candidates:
            if candidate.readiness is readiness:
                return candidate
    return candidates[0]


def choose_spillover(candidates: Iterable[Candidate], threshold: int, turn: Turn) -> Candidate | None:
    """The one where the request is served soonest, as far as ``threshold`` allows; None: all are leaving.

    A target is filled up to the threshold before another one is started for the rest. While one starts, the
    others that are ready take more, as much as they serve at once. When nobody has anything left, the rest
    is shared out. No target is left out for one that would turn the request away.
    """
    by_readiness: dict[Readiness, list[Candidate]] = {readiness: [] for readiness in Readiness}
    for candidate in candidates:
        by_readiness[candidate.readiness].append(candidate)
    ready, starting, cold, _ = by_readiness.values()
    starting_below = _below(starting, threshold)
    for group in (
        _below(ready, threshold),
        _below(ready, inf) if starting_below else [],
        starting_below,
        cold[:1],
        _below(ready, inf),
        _below(starting, inf),
        [candidate for candidate in ready if candidate.load < candidate.at_most],
        [candidate for candidate in starting if candidate.load < candidate.at_most],
        [*ready, *starting],
    ):
        if group:
            return _least_loaded(group, turn)
    return None


def _below(group: Iterable[Candidate], threshold: float) -> list[Candidate]:
    return [candidate for candidate in group if candidate.load < min(threshold, candidate.at_once)]


def _least_loaded(group: Sequence[Candidate], turn: Turn) -> Candidate:
    least = min(candidate.load for candidate in group)
    equals = [candidate for candidate in group if candidate.load == least]
    return equals[turn(len(equals))] if len(equals) > 1 else equals[0]
