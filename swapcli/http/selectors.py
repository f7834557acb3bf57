"""The selectors of a configuration, choosing among their targets as these are at the moment."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import attrs

from swapcli.config import Configuration, Selector
from swapcore import ProcState, UnknownModel

from .bookings import Bookings
from .destinations import Destinations, Local, Remote, Target
from .fleet import Fleet
from .selector_choice import Candidate, Readiness, choose_spillover, choose_warm

_OF_STATE = {
    ProcState.STOPPED: Readiness.COLD,
    ProcState.STARTING: Readiness.STARTING,
    ProcState.READY: Readiness.READY,
    ProcState.STOPPING: Readiness.UNAVAILABLE,
}


@attrs.define(eq=False)
class Selectors:
    """Of one configuration."""

    _config: Configuration
    _fleet: Fleet
    _bookings: Bookings
    _targets: Mapping[str, Sequence[Target]]

    @classmethod
    def of(
        cls, config: Configuration, destinations: Destinations, fleet: Fleet, bookings: Bookings
    ) -> Selectors:
        targets = {
            id: [found for name in selector.targets if (found := destinations.target(name)) is not None]
            for id, selector in config.selectors.items()
        }
        return cls(config, fleet, bookings, targets)

    def get(self, name: str) -> Selector | None:
        """The selector that is called so."""
        return self._config.selectors.get(name)

    def choose(self, id: str, tried: Collection[Target] = ()) -> Target | None:
        """Return the target for one request; None: there is none, or none that may serve it.

        The choice holds until the next checkpoint; by then the request has to be counted, see `Bookings`.

        Args:
          tried: targets that could not serve this request.
        """
        selector = self._config.selectors[id]
        candidates = [self._candidate(target) for target in self._targets[id] if target not in tried]
        if not candidates:
            return None
        match selector.strategy:
            case "spillover":
                turn = partial(self._bookings.turn, id)
                chosen = choose_spillover(candidates, selector.settings.spillover, turn)
                return None if chosen is None else chosen.target
            case "warm":
                return choose_warm(candidates).target
            case _:
                return candidates[0].target

    def _candidate(self, target: Target) -> Candidate:
        load = self._bookings.count(target.destination)
        match target.destination:
            case Remote():
                return Candidate(target, Readiness.READY if load else Readiness.COLD, load)
            case Local(id):
                try:
                    load += self._fleet.callers(id)
                    readiness = _OF_STATE[self._fleet.state_of(id)]
                except UnknownModel:  # the request began before the configuration was replaced
                    return Candidate(target, Readiness.UNAVAILABLE, load)
                model = self._config.models[id]
                if readiness is Readiness.COLD and load:
                    readiness = Readiness.STARTING  # as soon as the supervisor has looked at its mail
                at_once = model.parallel_limit
                return Candidate(target, readiness, load, at_once, at_once + model.waiting_limit)
