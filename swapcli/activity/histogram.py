"""How values are spread, as the page of requests draws it. Pure."""

from __future__ import annotations

from math import ceil, floor, log2

import attrs

PERCENTILES = (50, 95, 99)


@attrs.frozen
class Histogram:
    """Counts of values in bins of the same size, and where the middle and the end of them are."""

    bins: tuple[int, ...]
    min: float
    max: float
    bin_size: float
    percentiles: tuple[float, ...]
    """Of `PERCENTILES`."""


def bin_count(values: int) -> int:
    """Sturges' formula, between 5 and 20."""
    return max(5, min(ceil(log2(values)) + 1, 20))


def rank_of(percent: float, values: int) -> float:
    """Where in the sorted values a percentile lies, between two of them as a rule."""
    return percent / 100 * (values - 1)


def between(lower: float, upper: float, rank: float) -> float:
    """Interpolate linearly by the fraction of *rank*."""
    fraction = rank - floor(rank)
    return lower * (1 - fraction) + upper * fraction
