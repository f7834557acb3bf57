"""Many event streams at once through the relay, beside a bare Quart-Trio route that makes the same events.

Paced: all of them together have some 2,560 events a second, which leaves both servers time to rest; each
event is a chunk then, to be received and sent by itself. Never pausing: as fast as it goes; what arrives
together is passed on together.
"""

from __future__ import annotations

import statistics

import attrs
from load_servers import Running, running
from relay_load import streams
from table import Row

ROUNDS = 3
SECONDS = 1.5
COUNTS = (64, 256)
EVENTS_PER_SECOND = 2560


def measure() -> list[Row]:
    with (
        running("upstream") as upstream,
        running("relay", upstream=upstream) as relay,
    ):
        quart = attrs.evolve(relay, port=relay.quart_port)
        return [row for count in COUNTS for row in _rows(relay, quart, count)]


def _rows(relay: Running, quart: Running, count: int) -> list[Row]:
    rows = list[Row]()
    pause = count / EVENTS_PER_SECOND
    for kind, seconds, most in (("paced", pause, 1.3), ("never pausing", 0.0, 0.6)):
        rounds = [
            [streams(server, SECONDS, count=count, pause=seconds) for server in (relay, quart)]
            for _ in range(ROUNDS)
        ]
        what = f"streams: {{}}, {count} {kind}"
        rows += [
            Row(what=what.format("chunks/s"), value=statistics.median(o.rate for o, _ in rounds), unit="/s"),
            Row(
                what=what.format("CPU a chunk"),
                value=statistics.median(ours.cpu for ours, _ in rounds) * 1e6,
                unit="us",
            ),
            Row(
                what=what.format("CPU a chunk / Quart"),
                value=statistics.median(ours.cpu / theirs.cpu for ours, theirs in rounds),
                at_most=most,
            ),
        ]
    return rows
