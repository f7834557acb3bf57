from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings
from real_children import Children

pytest_plugins = ["clock_budget", "rule_report"]

# How long an example takes to make or to try says how busy the machine is, and nothing about the program.
settings.register_profile("swapcore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("swapcore")


@pytest.fixture
def children() -> Generator[Children]:
    """The marked processes of this test; fails it if one of them is left."""
    family = Children()
    yield family
    assert family.alive() == []
