"""A limit on what a model does at once makes callers wait, and each gets its share."""

from __future__ import annotations

from random import Random

import pytest
import trio
from trio.testing import MockClock

from swapcore import ModelId, ModelSpec, open_supervisor
from swapcore.testing import FakeServers

M = ModelId("m")
CLIENTS = 50


@pytest.mark.rule("L178")
async def test_g30_fifty_clients_of_a_model_that_serves_two_are_served_alike_and_none_is_turned_away(
    autojump_clock: MockClock,
) -> None:
    """Each has a key of its own and asks again at once; Jain's index of what they got is nearly 1."""
    served, longest = [0] * CLIENTS, 0.0
    spec = ModelSpec(M, concurrency=2, max_waiting=256)
    async with open_supervisor([spec], launch=FakeServers(load_seconds={M: 5})) as supervisor:

        async def ask_again_and_again(client: int, random: Random) -> None:
            nonlocal longest
            while True:
                asked = trio.current_time()
                async with supervisor.lease(M):
                    longest = max(longest, trio.current_time() - asked)
                    await trio.sleep(random.uniform(0.5, 2))
                served[client] += 1

        with trio.move_on_after(3600):
            async with trio.open_nursery() as nursery:
                for client in range(CLIENTS):
                    nursery.start_soon(ask_again_and_again, client, Random(client))
    fairness = sum(served) ** 2 / (CLIENTS * sum(each * each for each in served))
    assert fairness >= 0.95
    assert min(served) > 100
    assert longest < 5 + CLIENTS * 2 / 2
