"""Starts that fail, models that crash, and when each is tried again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
import trio
from callers import Together, meet_error
from observed import spawns
from trio.testing import MockClock

import swapcore
from swapcore import ModelId, ModelSpec, ProcState
from swapcore.testing import FakeServers

A, B, C = ModelId("a"), ModelId("b"), ModelId("c")
SPECS = [ModelSpec(A), ModelSpec(B), ModelSpec(C)]


@pytest.mark.rule("L25", "L27", "L82")
async def test_slow_start_is_rejected_for_every_waiter(autojump_clock: MockClock) -> None:
    specs = [ModelSpec(A, start_timeout=20)]
    async with swapcore.open_supervisor(specs, launch=FakeServers({A: 9999})) as supervisor:
        for _ in range(2):  # and it can be retried, after a pause
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(partial(meet_error, swapcore.StartTimeout, supervisor, A))
            await trio.sleep(1)
        assert trio.current_time() == pytest.approx(42)


@pytest.mark.rule("L27")
async def test_a_start_that_crashes_is_rejected_with_the_reason(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={A: 9}, crash_after={A: 3})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        with pytest.raises(swapcore.StartFailed, match="a crashed"):
            await supervisor.load(A)
        assert supervisor.state_of(A) is ProcState.STOPPED
        await supervisor.load(B)


async def test_unknown_model(autojump_clock: MockClock) -> None:
    async with swapcore.open_supervisor([], launch=FakeServers()) as supervisor:
        with pytest.raises(swapcore.UnknownModel, match="'a'"):
            await supervisor.load(A)
        with pytest.raises(swapcore.UnknownModel):
            supervisor.state_of(A)
        with pytest.raises(swapcore.UnknownModel):
            supervisor.log(A)
        with pytest.raises(swapcore.UnknownModel):
            await supervisor.unload(A)


async def test_two_specs_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="'a'"):
        async with swapcore.open_supervisor([ModelSpec(A), ModelSpec(A)], launch=FakeServers()):
            raise AssertionError


@pytest.mark.rule("L45")
async def test_a_crash_does_not_reach_siblings_and_is_restarted_on_demand(autojump_clock: MockClock) -> None:
    servers = FakeServers(crash_after={A: 5})
    async with (
        swapcore.open_supervisor(SPECS, planner=Together(), launch=servers) as supervisor,
        supervisor.lease(B),
    ):
        async with supervisor.lease(A):
            await trio.sleep(6)
            assert supervisor.state_of(A) is ProcState.STOPPED
            assert supervisor.state_of(B) is ProcState.READY
            # The lease of a dead run ends without a trace in the next one.
            async with supervisor.lease(A):
                assert supervisor.statistics().models[A].leases == 1
    assert spawns(servers) == [B, A, A]


@pytest.mark.rule("G29", "L93")
async def test_a_model_that_cannot_start_is_tried_three_times_in_half_a_minute(
    autojump_clock: MockClock,
) -> None:
    servers = FakeServers(load_seconds={A: 9}, crash_after={A: 0})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        refusals = list[swapcore.BackingOff]()
        for _ in range(120):
            try:
                await supervisor.load(A)
            except swapcore.BackingOff as exc:
                refusals.append(exc)
            except swapcore.StartFailed:
                pass
            await trio.sleep(0.25)
        assert spawns(servers) == [A] * 3
        assert len(refusals) == 117
        assert all(refusal.retry_after is not None and 0 < refusal.retry_after <= 30 for refusal in refusals)
        assert "a crashed" in refusals[0].reason
        assert trio.current_time() == pytest.approx(30)
        await trio.sleep(1)
        await meet_error(swapcore.StartFailed, supervisor, A)  # and then it is tried again
        await supervisor.load(B)


@pytest.mark.rule("G29", "L93")
async def test_no_healthy_model_is_evicted_for_one_that_backs_off(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={B: 0.5}, crash_after={A: 0})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await meet_error(swapcore.StartFailed, supervisor, A)
        await supervisor.load(B)
        await meet_error(swapcore.BackingOff, supervisor, A)
        assert supervisor.state_of(B) is ProcState.READY


async def test_the_first_crash_of_a_model_that_had_worked_costs_no_pause(autojump_clock: MockClock) -> None:
    servers = FakeServers(crash_after={A: 5})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await supervisor.load(A)
        await trio.sleep(10)
        await supervisor.load(A)
        assert spawns(servers) == [A, A]


async def test_policy_never_waits_until_it_is_unloaded(autojump_clock: MockClock) -> None:
    never = swapcore.RestartPolicy(when=swapcore.RestartWhen.NEVER)
    servers = FakeServers(crash_after={A: 5})
    async with swapcore.open_supervisor([ModelSpec(A, restart=never)], launch=servers) as supervisor:
        await supervisor.load(A)
        await trio.sleep(1000)
        with pytest.raises(swapcore.BackingOff, match="not started again") as caught:
            await supervisor.load(A)
        assert caught.value.retry_after is None
        await supervisor.unload(A)
        await supervisor.load(A)


@pytest.mark.rule("G35")
async def test_policy_always_brings_a_crashed_model_back(autojump_clock: MockClock) -> None:
    always = swapcore.RestartPolicy(when=swapcore.RestartWhen.ALWAYS)
    servers = FakeServers(load_seconds={A: 4}, crash_after={A: 20})
    async with swapcore.open_supervisor([ModelSpec(A, restart=always)], launch=servers) as supervisor:
        await supervisor.load(A)
        await trio.sleep(18)  # at 20 it crashes, for the first time: no pause
        assert supervisor.state_of(A) is ProcState.STARTING
        await trio.sleep(4)
        assert supervisor.state_of(A) is ProcState.READY
        await supervisor.unload(A)  # what was asked for is not undone
        await trio.sleep(1000)
        assert supervisor.state_of(A) is ProcState.STOPPED
        assert supervisor.statistics().waiting == 0


@pytest.mark.rule("G29", "L93")
async def test_a_failed_load_puts_the_evictee_back_if_nobody_else_waits(autojump_clock: MockClock) -> None:
    servers = FakeServers(load_seconds={B: 9}, crash_after={B: 3})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        await supervisor.load(A)
        await meet_error(swapcore.StartFailed, supervisor, B)
        await trio.sleep(2)
        assert supervisor.state_of(A) is ProcState.READY
        assert spawns(servers) == [A, B, A]


class CheckedServers(FakeServers):
    """Says beforehand that b cannot start."""

    def preflight(self, spec: ModelSpec, beside: Sequence[ModelSpec]) -> None:
        assert beside
        if spec.id == B:
            raise swapcore.StartFailed(B, "its program does not exist")


@pytest.mark.rule("G29")
async def test_what_cannot_start_evicts_nothing() -> None:
    servers = CheckedServers(load_seconds={A: 0, B: 0, C: 0})
    async with swapcore.open_supervisor(SPECS, launch=servers) as supervisor:
        with trio.fail_after(20):
            await supervisor.load(A)
            with pytest.raises(swapcore.StartFailed, match="does not exist"):
                await supervisor.load(B)
            assert supervisor.state_of(A) is ProcState.READY
            await supervisor.load(C)
    assert spawns(servers) == [A, C]
