"""Other models while some run."""

from __future__ import annotations

import attrs
import pytest
import trio
from callers import Together, use
from observed import spawns
from trio.testing import MockClock

import swapcore
from swapcore import ModelId, ModelSpec, ProcState
from swapcore.testing import FakeServers

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
SPECS = [ModelSpec(A), ModelSpec(B), ModelSpec(C)]


async def test_reconfigure_restarts_what_changed_and_nothing_else(autojump_clock: MockClock) -> None:
    before = [ModelSpec(m, (m, "--old"), f"http://h:{n}") for n, m in enumerate((A, B, C), 1)]
    servers = FakeServers()
    async with (
        swapcore.open_supervisor(before, planner=Together(), launch=servers) as supervisor,
        trio.open_nursery() as nursery,
    ):
        for model in (A, B, C):
            nursery.start_soon(use, supervisor, model, 20)
        await trio.sleep(5)
        after = [
            attrs.evolve(before[0], ttl=500),
            attrs.evolve(before[1], command=("b", "--new")),
            ModelSpec(ModelId("d")),
        ]
        await supervisor.reconfigure(after, planner=Together())
        assert list(supervisor.specs) == [A, B, "d"]
        assert supervisor.state_of(A) is ProcState.READY
        with pytest.raises(swapcore.UnknownModel):
            await supervisor.load(C)
        await supervisor.load(ModelId("d"))
        assert trio.current_time() == pytest.approx(6)
        await supervisor.load(B)  # after the callers of the old one are done
        assert trio.current_time() == pytest.approx(22)
    assert sorted(spawns(servers)[:3]) == [A, B, C]
    assert spawns(servers)[3:] == ["d", B]
    assert servers.alive == set()


async def test_reconfigure_cuts_a_drain_at_its_limit_and_a_removed_name_can_come_back(
    autojump_clock: MockClock,
) -> None:
    servers = FakeServers()
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor, trio.open_nursery() as nursery:
        nursery.start_soon(use, supervisor, A, 1000)
        await trio.sleep(2)
        await supervisor.reconfigure([ModelSpec(B)], drain_limit=10)
        await supervisor.reconfigure([ModelSpec(A), ModelSpec(B)], drain_limit=10)
        await supervisor.load(A)
        assert trio.current_time() <= 14
        with pytest.raises(ValueError, match="two specs"):
            await supervisor.reconfigure([ModelSpec(A), ModelSpec(A)])
        nursery.cancel_scope.cancel()
