"""How soon a model is asked for again once it is idle, and whether that is worth waiting for. Pure."""

from __future__ import annotations

from collections import deque
from math import inf, isinf

import attrs

REMEMBERED = 16
"""Gaps, the latest; older ones say little about who uses the model now."""
ENOUGH = 4
"""Gaps that must have been longer than it is idle now for a guess about the rest."""
_LATE = 1.1
"""Callers who are a little later than ever before are still waited for."""


@attrs.define(eq=False)
class Returns:
    """The gaps between a model's last release and the next request for it.

    Whether it still ran or not: but a caller who comes once the model that took its
    room has served somebody may have waited for just that, like one who asks two
    models in turn. To stay for such a caller would be to wait for ever, so he counts as
    one who never came.
    """

    _gaps: deque[float] = attrs.field(factory=lambda: deque[float](maxlen=REMEMBERED))
    _idle_since: float | None = None

    def went_idle(self, now: float) -> None:
        """Its last lease ended, and nobody is in line for it."""
        self._idle_since = now

    def others_served(self) -> None:
        """The model that took its room has served somebody since it went idle."""
        if self._idle_since is not None:
            self._gaps.append(inf)
            self._idle_since = None

    def asked_for(self, now: float) -> None:
        """Somebody wants it. Only the first after it went idle counts."""
        if self._idle_since is not None:
            self._gaps.append(now - self._idle_since)
            self._idle_since = None

    def worth_waiting(self, idle_for: float, *, others: int, away: float, service: float) -> float:
        """Return how long it should be idle, in all, before it makes room; 0 if it should do so at once.

        Of every length of waiting the one is taken that saves the most seconds of
        callers' waiting, if any saves some. What is saved is *away* for the caller
        who comes in time; what is paid is that the *others* wait as well, until he
        comes and while he is served.

        Args:
          idle_for: seconds that it is idle by now.
          others: callers who wait for the room.
          away: seconds that a caller would wait who comes when the room has been given away.
          service: seconds that one is served.
        """
        longer = sorted(gap for gap in self._gaps if gap > idle_for)
        if len(longer) < ENOUGH:
            return 0.0
        best = worth = waited = 0.0
        before, chances = idle_for, len(longer) + 1  # perhaps nobody comes at all, this time
        for come, gap in enumerate(longer, start=1):
            if isinf(gap):
                break
            waited += (gap - before) * (chances - come + 1) / chances
            before = gap
            probability = come / chances
            saved = probability * away - others * (waited + probability * service)
            if saved > best:
                best, worth = saved, gap * _LATE
        return worth
