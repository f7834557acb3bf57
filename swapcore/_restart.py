"""When a model that failed may be started again: a budget of restarts and an exponential back-off. Pure.

The budget is that of Erlang's supervisors (``intensity`` restarts within
``period`` seconds, counted on a sliding window); while it is used up, or a
back-off runs, nothing is started and callers are told at once.
"""

from __future__ import annotations

import enum
from collections import deque
from math import inf

import attrs
from attrs.validators import ge

_LONGEST_EXPONENT = 64
"""Doubling a pause more often than this changes nothing any more, until the number overflows."""


class RestartWhen(enum.Enum):
    """Who starts a model again after it failed. Values are the words of the configuration."""

    NEVER = "never"
    """Nobody, until it is unloaded or reconfigured."""
    ON_DEMAND = "on-demand"
    """The next caller."""
    ALWAYS = "always"
    """The supervisor itself."""


@attrs.frozen(kw_only=True)
class RestartPolicy:
    """Seconds on the trio clock. Raises ``ValueError`` for a number that makes no sense."""

    when: RestartWhen = RestartWhen.ON_DEMAND
    intensity: int = attrs.field(default=3, validator=ge(1))
    """Failures within ``period`` after which nothing is started until the first of them is that old."""
    period: float = attrs.field(default=30.0, validator=ge(0))
    backoff: float = attrs.field(default=1.0, validator=ge(0))
    """Pause after the first failed start; twice as long after each further failure within ``period``."""
    backoff_max: float = attrs.field(default=60.0, validator=ge(0))


@attrs.define(eq=False)
class FailureRecord:
    """The failures of one model that still count."""

    _times: deque[float] = attrs.field(factory=deque[float])
    closed_until: float = 0.0
    """Nothing is started before this; ``inf``: not until somebody says so."""
    reason: str = ""
    """Why it failed last."""

    def add(self, policy: RestartPolicy, now: float, reason: str, *, was_ready: bool) -> None:
        """Count a failed start, or the crash of a ready process.

        The first crash of a process that had worked costs no pause: its
        callers are better served by a fresh start than by a refusal.
        """
        while self._times and self._times[0] <= now - policy.period:
            self._times.popleft()
        self._times.append(now)
        self.reason = reason
        exponent = min(len(self._times) - (2 if was_ready else 1), _LONGEST_EXPONENT)
        pause = min(policy.backoff * 2.0**exponent, policy.backoff_max) if exponent >= 0 else 0.0
        self.closed_until = now + pause
        if policy.when is RestartWhen.NEVER:
            self.closed_until = inf
        elif len(self._times) >= policy.intensity:
            self.closed_until = max(self.closed_until, self._times[0] + policy.period)

    def forgive(self) -> None:
        """Start from nothing, because somebody changed or unloaded the model."""
        self._times.clear()
        self.closed_until = 0.0
