"""Rows of the benchmark: a figure, what it may be at most or at least, and whether it is."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from rich.console import Console
from rich.table import Table


@attrs.frozen(kw_only=True)
class Row:
    what: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def bar(self) -> str:
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return f"at least {self.at_least:g}" if self.at_least is not None else ""


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which *percent* of *values* lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, round(percent / 100 * len(ordered) + 0.5) - 1)]


def show(rows: Sequence[Row]) -> bool:
    """Print the table; true if every bar is held."""
    table = Table("figure", "measured", "bar", "")
    for row in rows:
        mark = "" if not row.bar else "ok" if row.holds else "MISSED"
        table.add_row(row.what, f"{row.value:.3g} {row.unit}".strip(), row.bar, mark)
    Console(width=120).print(table)
    return all(row.holds for row in rows)
