"""The soak calls a fault what is one, and nothing else."""

from __future__ import annotations

import pytest
import trio
from soak_judgement import MOST_FAULTS, Judge, Sample, TooManyFaults, growth
from trio.testing import MockClock

MIB = 2**20


def samples(*resident: float) -> list[Sample]:
    return [
        Sample(at=5.0 * n, resident=int(r * MIB), descriptors=9, threads=3, children=1)
        for n, r in enumerate(resident)
    ]


def test_growth_compares_the_ends_and_not_the_beginning() -> None:
    rising_first = [*range(50, 80), *(80 for _ in range(100))]
    assert growth(samples(*rising_first), since=150) == 0
    leaking = [100 + n / 10 for n in range(200)]
    found = growth(samples(*leaking), since=0)
    assert found is not None
    assert found == pytest.approx(0.18, abs=0.005)


def test_growth_is_not_misled_by_one_odd_sample() -> None:
    odd = [100.0] * 60
    odd[2], odd[-1] = 40.0, 400.0
    assert growth(samples(*odd), since=0) == 0


def test_growth_needs_enough_samples() -> None:
    assert growth(samples(*range(1, 30)), since=0) is None
    assert growth([], since=0) is None


async def test_who_is_harmed_may_get_what_fits(mock_clock: MockClock) -> None:
    judge = Judge()
    with judge.mischief.doing("a", "upstream_died", aftermath=3.0):
        since = trio.current_time()
        judge.ended("short", ("a",), "upstream_died", since=since)
        judge.ended("short", ("a",), "right", since=since)
    mock_clock.jump(2.9)
    judge.ended("short", ("x", "a"), "upstream_died", since=trio.current_time())
    assert judge.faults == []
    judge.ended("short", ("a",), "unloaded", since=since)
    judge.ended("short", ("b",), "upstream_died", since=since)
    mock_clock.jump(0.2)
    judge.ended("late, harmed before", ("a",), "upstream_died", since=since)
    judge.ended("late", ("a",), "upstream_died", since=trio.current_time())
    assert [fault.partition("s: ")[2].partition(" after")[0] for fault in judge.faults] == [
        "short to a: unloaded",
        "short to b: upstream_died",
        "late to a: upstream_died",
    ]


async def test_an_answer_that_must_fail_is_a_fault_when_it_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    judge = Judge()
    with judge.mischief.doing("*", "cut"):
        judge.ended("crash midstream", ("a",), "cut", since=trio.current_time(), expected=())
        judge.ended("crash midstream", ("a",), "right", since=trio.current_time(), expected=())
    assert len(judge.faults) == 1
    assert "FAULT" in capsys.readouterr().out
    assert judge.table() == "  crash midstream    1 cut, 1 right"


async def test_too_many_faults_end_it() -> None:
    judge = Judge()
    for _ in range(MOST_FAULTS - 1):
        judge.fault("again")
    with pytest.raises(TooManyFaults):
        judge.fault("and again")
    assert len(judge.faults) == MOST_FAULTS
