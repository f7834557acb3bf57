"""What the server measures of itself and of its machine, for the pages that show it."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from swapcli.config import Configuration, Performance
from swapcli.machine import HardwareSnapshot, PerformanceMonitor
from swapcli.metrics import FleetMetrics
from swapcore import SwapcoreError

from .error_answers import INTERNAL, of_failure


@attrs.frozen(eq=False)
class Measurements:
    """Made once for the server; it outlives configurations. Whoever makes it feeds it."""

    monitor: PerformanceMonitor
    hardware: HardwareSnapshot = attrs.field(factory=HardwareSnapshot)
    metrics: FleetMetrics = attrs.field(factory=lambda: FleetMetrics(_code_of))
    lines_dropped: Callable[[], int] = lambda: 0
    """Lines of the log that were not printed."""

    @classmethod
    def of(cls, settings: Performance, *, lines_dropped: Callable[[], int] = lambda: 0) -> Measurements:
        """Return some that measure the machine as *settings* say, once they run."""
        return cls(PerformanceMonitor(settings), lines_dropped=lines_dropped)

    def use(self, config: Configuration) -> None:
        """Another configuration is in force."""
        self.monitor.apply(config.performance)

    async def run(self) -> None:
        """Look at the machine, now and then again and again, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.hardware.take)
            nursery.start_soon(self.monitor.run)


def _code_of(error: Exception) -> str:
    answer = of_failure(error) if isinstance(error, SwapcoreError) else INTERNAL
    return answer.code or "internal_error"
