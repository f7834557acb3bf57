"""Who is turned away because too many wait is told when there may be a place."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from swapcore import ModelId, ModelSpec, Overloaded, Supervisor, open_supervisor
from swapcore.testing import FakeServers

A, B = ModelId("a"), ModelId("b")


async def use(supervisor: Supervisor, model: ModelId, seconds: float) -> None:
    async with supervisor.lease(model):
        await trio.sleep(seconds)


async def turned_away(supervisor: Supervisor, model: ModelId) -> float | None:
    with pytest.raises(Overloaded) as caught:
        await use(supervisor, model, 0)
    return caught.value.retry_after


async def test_nobody_knows_before_anything_was_measured(autojump_clock: MockClock) -> None:
    spec = ModelSpec(A, concurrency=1, max_waiting=0)
    async with (
        open_supervisor([spec], launch=FakeServers(load_seconds={A: 5})) as supervisor,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(use, supervisor, A, 10)
        await wait_all_tasks_blocked()
        assert await turned_away(supervisor, A) is None, "how long it loads"
        await trio.sleep(6)
        assert await turned_away(supervisor, A) is None, "how long it is used"


@pytest.mark.parametrize("most", [1, 4])
async def test_when_one_of_those_who_use_it_is_likely_to_have_gone(
    most: int, autojump_clock: MockClock
) -> None:
    spec = ModelSpec(A, concurrency=most, max_waiting=0)
    async with open_supervisor([spec], launch=FakeServers()) as supervisor:
        await use(supervisor, A, 20)
        async with trio.open_nursery() as nursery:
            for _ in range(most):
                nursery.start_soon(use, supervisor, A, 20)
            await wait_all_tasks_blocked()
            assert await turned_away(supervisor, A) == pytest.approx(20 / most)


@pytest.mark.parametrize(("room", "service"), [(0, 20), (3, 0)])
async def test_while_it_loads_that_comes_first(room: int, service: float, autojump_clock: MockClock) -> None:
    """With room to wait there is a place as soon as the first of those who wait have the model."""
    spec = ModelSpec(A, concurrency=1, max_waiting=room)
    async with open_supervisor([spec, ModelSpec(B)], launch=FakeServers(load_seconds={A: 30})) as supervisor:
        await use(supervisor, A, 20)
        await supervisor.unload(A)
        async with trio.open_nursery() as nursery:
            for _ in range(1 + room):
                nursery.start_soon(use, supervisor, A, 20)
            await trio.sleep(12)
            assert await turned_away(supervisor, A) == pytest.approx(30 - 12 + service, abs=0.1)


async def test_each_of_several_who_are_turned_away_is_told(autojump_clock: MockClock) -> None:
    """They get copies of the error, and what they are told is part of it."""
    error = Overloaded(A, "full", 2.5)
    again = type(error)(*error.args)
    assert (again.model, again.reason, again.retry_after) == (A, "full", 2.5)
    assert str(error) == "a: full"
