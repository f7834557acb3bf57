"""What is counted of the supervisor's events."""

from __future__ import annotations

import pytest

from swapcli.metrics import FleetMetrics
from swapcli.metrics.fleet_metrics import OTHER_REASON
from swapcli.metrics.histogram import Histogram
from swapcore import (
    Crashed,
    EventsMissed,
    LeaseGranted,
    LeaseRefused,
    ModelId,
    ProcState,
    StateChanged,
    SwapCommitted,
    SwapEnded,
)

A, B = ModelId("a"), ModelId("b")
STOPPED, STARTING, READY, STOPPING = ProcState


def metrics() -> FleetMetrics:
    return FleetMetrics(lambda error: str(error))


def change(found: FleetMetrics, at: float, before: ProcState, after: ProcState) -> None:
    found.take(StateChanged(at, A, before, after, "why"))


def test_a_histogram_counts_up_to_each_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.0, 0.1, 0.5, 7.0):
        histogram.observe(seconds)
    assert histogram.cumulative() == [("0.1", 2), ("1.0", 3), ("+Inf", 4)]
    assert histogram.sum == pytest.approx(7.6)


def counts(found: FleetMetrics, name: str) -> tuple[int, float]:
    """How many durations of ``a`` there were, and their sum."""
    histogram = getattr(found, name).histograms.get(A)
    return (0, 0.0) if histogram is None else (histogram.cumulative()[-1][1], histogram.sum)


def test_g38_loads_and_stops_are_timed() -> None:
    found = metrics()
    change(found, 10, STOPPED, STARTING)
    change(found, 14, STARTING, READY)
    change(found, 20, READY, STOPPING)
    change(found, 20.5, STOPPING, STOPPED)
    assert counts(found, "loads") == (1, 4.0)
    assert counts(found, "stops") == (1, 0.5)


@pytest.mark.parametrize(
    "path",
    [
        [(STOPPED, STARTING), (STARTING, STOPPED)],  # it failed to start
        [(READY, STOPPED)],  # it crashed
        [(STOPPING, STOPPED)],  # it began to stop before anybody counted
        [(STARTING, READY)],
    ],
)
def test_what_was_not_a_whole_load_or_stop_is_not_timed(path: list[tuple[ProcState, ProcState]]) -> None:
    found = metrics()
    for at, (before, after) in enumerate(path):
        change(found, at, before, after)
    assert (counts(found, "loads"), counts(found, "stops")) == ((0, 0.0), (0, 0.0))


def test_a_load_that_is_called_off_counts_as_a_stop_only() -> None:
    found = metrics()
    change(found, 1, STOPPED, STARTING)
    change(found, 5, STARTING, STOPPING)
    change(found, 6, STOPPING, STOPPED)
    assert counts(found, "loads") == (0, 0.0)
    assert counts(found, "stops") == (1, 1.0)


def test_g38_waits_and_refusals() -> None:
    found = metrics()
    found.lease_granted(A, 2.5)
    found.take(LeaseGranted(1.0, A, 2.5))  # the same one
    found.take(LeaseRefused(1.0, B, ValueError("queue_full")))
    found.take(LeaseRefused(1.0, B, ValueError("queue_full")))
    assert counts(found, "waits") == (1, 2.5)
    assert found.refusals == {(B, "queue_full"): 2}


def test_g38_swaps_have_a_reason_and_starts_beside_nobody_are_none() -> None:
    found = metrics()
    found.take(SwapCommitted(1.0, A, (), "a runs alone"))
    found.take(SwapCommitted(2.0, A, (B,), "a runs alone"))
    found.take(SwapEnded(3.0, A, (B,), "a runs alone", 0.1, 0.9, None))
    assert found.swaps == {"a runs alone": 1}
    assert found.evictions == {B: 1}


def test_reasons_without_end_are_bounded() -> None:
    found = metrics()
    for number in range(1000):
        found.take(SwapCommitted(1.0, A, (B,), f"{number} MiB too much"))
    assert len(found.swaps) <= 101
    assert found.swaps[OTHER_REASON] == 900
    assert found.swaps["7 MiB too much"] == 1


def test_crashes_and_restarts() -> None:
    found = metrics()
    change(found, 1, STOPPED, STARTING)
    found.take(Crashed(2.0, A, None))
    assert (found.crashes, found.restarts) == ({A: 1}, {})
    change(found, 3, STOPPED, STARTING)
    change(found, 4, STOPPED, STARTING)
    assert found.restarts == {A: 1}


def test_missed_events_and_requests() -> None:
    found = metrics()
    found.take(EventsMissed(3))
    found.request_ended(A, 200, first_byte=0.2, total=1.5)
    found.request_ended(A, 499, first_byte=None, total=0.5)
    assert found.events_missed == 3
    assert found.requests == {(A, 200): 1, (A, 499): 1}
    assert counts(found, "first_bytes") == (1, 0.2)
    assert counts(found, "totals") == (2, 2.0)
