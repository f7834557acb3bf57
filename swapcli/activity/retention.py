"""Which records stay when others are added."""

from __future__ import annotations

import attrs


@attrs.frozen
class Retention:
    """Those go that a limit forbids. ``None`` sets none."""

    records: int | None = None
    """So many of the newest stay, by distance of ids."""
    seconds: int | None = None
    """Records stay for so long after the newest one's time."""


FOR_EVER = Retention()
