"""The relay beside a bare Quart-Trio application that makes the same answers: same machine, same run."""

from __future__ import annotations

from relay_load import ratios_to_quart
from table import Row


def measure() -> list[Row]:
    ratios = ratios_to_quart(seconds=3, rounds=3)
    return [
        Row(what="relay: requests/s / bare Quart-Trio route", value=ratios["requests"], at_least=0.9),
        Row(what="relay: requests/s / without recording", value=ratios["recording"], at_least=0.9),
        Row(what="relay: CPU a chunk / Quart, 64 paced streams", value=ratios["paced"], at_most=1.3),
        Row(what="relay: CPU a chunk / Quart, saturated", value=ratios["saturated"], at_most=0.6),
    ]
