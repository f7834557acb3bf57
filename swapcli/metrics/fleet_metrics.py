"""What is counted and timed about models and requests. Fed by events; read when somebody asks. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import attrs

from swapcore import (
    Crashed,
    Event,
    EventsMissed,
    LeaseGranted,
    LeaseRefused,
    ModelId,
    ProcState,
    StateChanged,
    SwapCommitted,
    SwapEnded,
)

from .histogram import Histogram

_WAITS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_STOPS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LOADS = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_ANSWERS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

_MOST_REASONS = 100
"""A planner may put numbers into its reasons; a monitoring system would keep a series for each for ever."""
OTHER_REASON = "other"


@attrs.define(eq=False)
class ByModel:
    """A histogram for each model that there was something to count of."""

    _bounds: Sequence[float]
    histograms: dict[ModelId, Histogram] = attrs.field(factory=dict[ModelId, Histogram], init=False)

    def observe(self, model: ModelId, seconds: float) -> None:
        histogram = self.histograms.get(model)
        if histogram is None:
            histogram = self.histograms[model] = Histogram(self._bounds)
        histogram.observe(seconds)


@attrs.define(eq=False)
class FleetMetrics:
    """One for the whole server; it outlives configurations."""

    _code_of: Callable[[Exception], str]
    """The code of the answer to a caller that was refused for this."""
    waits: ByModel = attrs.field(factory=lambda: ByModel(_WAITS), init=False)
    """From a request for a lease until it is granted."""
    stops: ByModel = attrs.field(factory=lambda: ByModel(_STOPS), init=False)
    loads: ByModel = attrs.field(factory=lambda: ByModel(_LOADS), init=False)
    first_bytes: ByModel = attrs.field(factory=lambda: ByModel(_ANSWERS), init=False)
    """From a request's arrival to the first byte of its answer."""
    totals: ByModel = attrs.field(factory=lambda: ByModel(_ANSWERS), init=False)
    """From a request's arrival to the end of its answer."""
    swaps: Counter[str] = attrs.field(factory=Counter[str], init=False)
    """By reason; only those that stop something."""
    evictions: Counter[ModelId] = attrs.field(factory=Counter[ModelId], init=False)
    crashes: Counter[ModelId] = attrs.field(factory=Counter[ModelId], init=False)
    restarts: Counter[ModelId] = attrs.field(factory=Counter[ModelId], init=False)
    """Starts after a crash."""
    refusals: Counter[tuple[ModelId, str]] = attrs.field(factory=Counter[tuple[ModelId, str]], init=False)
    """By model and code."""
    requests: Counter[tuple[ModelId, int]] = attrs.field(factory=Counter[tuple[ModelId, int]], init=False)
    """By model and status."""
    events_missed: int = attrs.field(default=0, init=False)
    _since: dict[ModelId, float] = attrs.field(factory=dict[ModelId, float], init=False)
    """When a model began to start or to stop."""
    _crashed: set[ModelId] = attrs.field(factory=set[ModelId], init=False)
    """Not started again since."""

    def take(self, event: Event) -> None:
        """Count one of the supervisor's events."""
        match event:
            case StateChanged():
                self._state_changed(event)
            case SwapCommitted(evicted=evicted, reason=reason):
                if evicted:
                    known = reason in self.swaps or len(self.swaps) < _MOST_REASONS
                    self.swaps[reason if known else OTHER_REASON] += 1
                    self.evictions.update(evicted)
            case LeaseRefused(model=model, error=error):
                self.refusals[model, self._code_of(error)] += 1
            case Crashed(model=model):
                self.crashes[model] += 1
                self._crashed.add(model)
            case EventsMissed(count=count):
                self.events_missed += count
            case SwapEnded() | LeaseGranted():
                pass  # the parts of the one are counted as they happen, the other by `lease_granted`

    def lease_granted(self, model: ModelId, waited: float) -> None:
        """Count a request that has got its model, after so many seconds.

        Not an event's business: a task that wakes up for each request costs more than all that is counted.
        """
        self.waits.observe(model, waited)

    def request_ended(self, model: ModelId, status: int, *, first_byte: float | None, total: float) -> None:
        """Count a request to a model. Durations are seconds since it arrived.

        Args:
          first_byte: of the answer; ``None``: there was none.
        """
        self.requests[model, status] += 1
        self.totals.observe(model, total)
        if first_byte is not None:
            self.first_bytes.observe(model, first_byte)

    def _state_changed(self, change: StateChanged) -> None:
        model, began = change.model, self._since.pop(change.model, None)
        match change.after:
            case ProcState.STARTING:
                self._since[model] = change.at
                if model in self._crashed:
                    self._crashed.discard(model)
                    self.restarts[model] += 1
            case ProcState.STOPPING:
                self._since[model] = change.at
            case ProcState.READY if began is not None:
                self.loads.observe(model, change.at - began)
            case ProcState.STOPPED if began is not None and change.before is ProcState.STOPPING:
                self.stops.observe(model, change.at - began)
            case _:
                pass  # it began before this was listening, or ended by itself
