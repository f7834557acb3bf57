"""The relay beside a bare Quart-Trio route that makes the same answers: how many of them it manages."""

from __future__ import annotations

import statistics

import attrs
from load_servers import running
from relay_load import answers
from table import Row

LIVES = 4
"""Of the servers, whose luck differs."""
ROUNDS = 9
SECONDS, UNMEASURED = 0.4, 0.15
"""Short, for what else the machine does changes within seconds."""


def measure() -> list[Row]:
    rounds = [each for _ in range(LIVES) for each in _life()]
    return [
        Row(what="relay: requests/s", value=statistics.median(one.rate for one in rounds), unit="/s"),
        Row(what="relay: CPU a request", value=statistics.median(one.cpu for one in rounds) * 1e6, unit="us"),
        Row(
            what="relay: requests/s / bare Quart-Trio route",
            value=statistics.median(one.rate / one.of_quart for one in rounds),
            at_least=0.9,
        ),
        Row(
            what="relay: requests/s / without recording",
            value=statistics.median(one.rate / one.unrecorded for one in rounds),
            at_least=0.9,
        ),
    ]


@attrs.frozen
class Round:
    """Requests per second; and CPU seconds for one of them."""

    rate: float
    cpu: float
    unrecorded: float
    of_quart: float


def _life() -> list[Round]:
    with (
        running("upstream") as upstream,
        running("relay", upstream=upstream) as relay,
    ):
        unrecorded = attrs.evolve(relay, port=relay.unrecorded_port)
        quart = attrs.evolve(relay, port=relay.quart_port)
        rounds: list[Round] = []
        turns = [relay, unrecorded, quart]
        for _ in range(ROUNDS):
            # A busy moment of the machine hits all alike, and each is first at times.
            turns = turns[1:] + turns[:1]
            found = {each: answers(each, SECONDS, unmeasured=UNMEASURED) for each in turns}
            ours = found[relay]
            rounds.append(Round(ours.rate, ours.cpu, found[unrecorded].rate, found[quart].rate))
        return rounds
