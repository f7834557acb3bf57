"""What holds for waiting whatever the planner says."""

from __future__ import annotations

from math import inf

import attrs
from attrs.validators import ge


@attrs.frozen(kw_only=True)
class SchedulingPolicy:
    """Bounds on waiting that hold whatever the planner says. Seconds on the trio clock; ``inf``: never.

    Raises:
      ValueError: one of them is negative, or not a number.
    """

    max_wait: float = attrs.field(default=120.0, validator=ge(0))
    """A caller that waited so long closes the busy models in its way to new callers."""
    leeway: float = attrs.field(default=60.0, validator=ge(0))
    """What a caller may lose to an order that is better for all, at most half of ``max_wait``.

    Those whose model takes less time for each of them go ahead of it, and an idle
    model in its way stays while callers of that are likely to be back. 0: first come,
    first served.
    """
    min_residency: float = attrs.field(default=0.0, validator=ge(0))
    """A ready model is not evicted sooner than this, unless a caller is overdue."""
    max_drain: float = attrs.field(default=inf, validator=ge(0))
    """How long leases may hold up an overdue caller before they are cut."""

    @property
    def usable_leeway(self) -> float:
        return min(self.leeway, self.max_wait / 2)
