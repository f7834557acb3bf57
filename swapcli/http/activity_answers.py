"""What ``/api/metrics/activity`` and ``/api/metrics/stats`` say. Pure."""

from __future__ import annotations

from typing import Any

from swapcli.activity.captures import CaptureBuffer
from swapcli.activity.database import Page, Totals
from swapcli.activity.histogram import PERCENTILES, Histogram
from swapcli.activity.query import ActivityQuery
from swapcli.activity.record import plain_number


def activity_page(page: Page, query: ActivityQuery, captures: CaptureBuffer) -> dict[str, Any]:
    """Return a part of the record. ``captures`` tells which requests were kept whole, at this moment."""
    return {
        "data": [record.as_json(has_capture=record.id in captures) for record in page.records],
        "page": query.page,
        "limit": query.limit,
        "total": page.total,
        "total_pages": -(-page.total // query.limit),
    }


def activity_totals(totals: Totals) -> dict[str, Any]:
    """Return sums, and how speeds are spread; the keys, and their order, are llama-swap's."""
    return {
        "total_requests": totals.requests,
        "total_input_tokens": totals.input_tokens,
        "total_output_tokens": totals.output_tokens,
        "total_cache_tokens": totals.cache_tokens,
        "prompt_histogram": _histogram(totals.prompt_speeds),
        "gen_histogram": _histogram(totals.speeds),
    }


def _histogram(histogram: Histogram | None) -> dict[str, Any] | None:
    if histogram is None:
        return None
    percentiles = zip(PERCENTILES, histogram.percentiles, strict=True)
    return {
        "bins": list(histogram.bins),
        "min": plain_number(histogram.min),
        "max": plain_number(histogram.max),
        "binSize": plain_number(histogram.bin_size),
        **{f"p{percent}": plain_number(value) for percent, value in percentiles},
    }
