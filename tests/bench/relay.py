"""The relay beside a bare Quart-Trio route that makes the same answers: how many of them it manages."""

from __future__ import annotations

import statistics

from load_servers import running
from relay_load import answers
from table import Row

ROUNDS = 9
SECONDS = 1.0


def measure() -> list[Row]:
    with (
        running("upstream") as upstream,
        running("relay", upstream=upstream) as relay,
        running("unrecorded", upstream=upstream) as unrecorded,
        running("quart") as quart,
    ):
        # They take turns, so that a busy moment of the machine hits all alike.
        rounds = [[answers(server, SECONDS) for server in (relay, unrecorded, quart)] for _ in range(ROUNDS)]
    to_quart = statistics.median(ours.rate / route.rate for ours, _, route in rounds)
    to_unrecorded = statistics.median(ours.rate / other.rate for ours, other, _ in rounds)
    ours = [relay for relay, _, _ in rounds]
    return [
        Row(what="relay: requests/s", value=statistics.median(one.rate for one in ours), unit="/s"),
        Row(what="relay: CPU a request", value=statistics.median(one.cpu for one in ours) * 1e6, unit="us"),
        Row(what="relay: requests/s / bare Quart-Trio route", value=to_quart, at_least=0.9),
        Row(what="relay: requests/s / without recording", value=to_unrecorded, at_least=0.9),
    ]
