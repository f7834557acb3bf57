from __future__ import annotations

from collections.abc import Generator

import pytest
from real_children import Children

pytest_plugins = ["clock_budget", "rule_report"]


@pytest.fixture
def children() -> Generator[Children]:
    """The marked processes of this test; fails it if one of them is left."""
    family = Children()
    yield family
    assert family.alive() == []
