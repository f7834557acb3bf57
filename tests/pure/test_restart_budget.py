"""When a model that failed may be started again."""

from __future__ import annotations

from math import inf

import pytest

from swapcore import RestartPolicy
from swapcore._restart import FailureRecord


@pytest.mark.parametrize("period", [1e9, inf])
def test_thousands_of_failures_that_all_count_are_a_long_pause(period: float) -> None:
    policy = RestartPolicy(intensity=1_000_000, period=period, backoff=0.001, backoff_max=2.0)
    record = FailureRecord()
    for n in range(3000):
        record.add(policy, float(n), "no", was_ready=False)
    assert record.closed_until == 2999 + 2.0
