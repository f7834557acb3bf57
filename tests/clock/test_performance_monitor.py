"""When the machine is measured, and for how long that is remembered. On the virtual clock."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import attrs
import pytest
import trio
from trio.testing import MockClock

from swapcli.config import Performance
from swapcli.machine import GpuSample, PerformanceMonitor, SystemSample

START = datetime(2026, 1, 1, tzinfo=UTC)


@attrs.define(eq=False)
class Machine:
    """Measured often: each time one second later."""

    opened: int = 0
    reads: int = 0
    fails: bool = False

    def open(self) -> Machine:
        self.opened += 1
        return self

    def __call__(self) -> tuple[SystemSample, Sequence[GpuSample]]:
        self.reads += 1
        if self.fails:
            raise OSError("no such sensor")
        at = START + timedelta(seconds=self.reads)
        system = SystemSample(
            at=at, cpu_util_per_core=(1.0,), mem_total_mb=4, mem_used_mb=1, mem_free_mb=3, swap_total_mb=0,
            swap_used_mb=0, load_avg=(0.1, 0.2, 0.3), net_io={"eth0": (1, 2)},
        )  # fmt: skip
        return system, [GpuSample(at=at, id=0, name="g"), GpuSample(at=at, id=1, name="h")]


@pytest.fixture
def in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run thread functions at once: the virtual clock does not wait for threads."""

    async def run_sync(function: object, *arguments: object, abandon_on_cancel: bool = False) -> object:
        await trio.lowlevel.checkpoint()
        assert callable(function)
        return function(*arguments)

    monkeypatch.setattr("trio.to_thread.run_sync", run_sync)


async def after(monitor: PerformanceMonitor, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await monitor.run()


@pytest.mark.usefixtures("in_place")
async def test_h185_the_first_sample_comes_after_an_interval(autojump_clock: MockClock) -> None:
    machine = Machine()
    monitor = PerformanceMonitor(Performance(every_seconds=5.0), machine.open)
    await after(monitor, 4.9)
    assert (machine.opened, machine.reads) == (1, 0)
    monitor = PerformanceMonitor(Performance(every_seconds=5.0), machine.open)
    await after(monitor, 15.1)
    assert (machine.reads, len(monitor.system), len(monitor.gpus)) == (3, 3, 3)


@pytest.mark.usefixtures("in_place")
@pytest.mark.parametrize(("every", "kept"), [(5.0, 720), (7.0, 514), (1800.0, 2), (4000.0, 1)])
async def test_h185_an_hour_is_kept(autojump_clock: MockClock, every: float, kept: int) -> None:
    machine = Machine()
    monitor = PerformanceMonitor(Performance(every_seconds=every), machine.open)
    await after(monitor, (kept + 3.5) * every)
    assert machine.reads == kept + 3
    assert len(monitor.system) == len(monitor.gpus) == kept
    assert monitor.system[-1].at == START + timedelta(seconds=kept + 3)


@pytest.mark.usefixtures("in_place")
async def test_h185_another_interval_forgets(autojump_clock: MockClock) -> None:
    machine = Machine()
    monitor = PerformanceMonitor(Performance(every_seconds=5.0), machine.open)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitor.run)
        await trio.sleep(12)
        monitor.apply(Performance(every="5000ms", every_seconds=5.0))
        assert len(monitor.system) == 2, "it is the same"
        monitor.apply(Performance(every_seconds=60.0))
        assert len(monitor.system) == 0
        await trio.sleep(59)
        assert machine.reads == 2
        await trio.sleep(2)
        assert (machine.reads, machine.opened) == (3, 1)
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("in_place")
async def test_h184_disabled_measures_nothing_until_a_reload_enables_it(autojump_clock: MockClock) -> None:
    machine = Machine()
    monitor = PerformanceMonitor(Performance(disabled=True), machine.open)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitor.run)
        await trio.sleep(100)
        assert (machine.opened, machine.reads) == (0, 0)
        monitor.apply(Performance())
        await trio.sleep(11)
        assert machine.reads == 2
        monitor.apply(Performance(disabled=True))
        await trio.sleep(100)
        assert (machine.reads, len(monitor.system)) == (2, 0)
        nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("in_place")
async def test_a_machine_that_cannot_be_measured_is_one_warning(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "swapcli.machine")
    machine = Machine(fails=True)
    monitor = PerformanceMonitor(Performance(), machine.open)
    await after(monitor, 100)
    assert machine.reads > 10
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("in_place")
async def test_h186_h189_the_document(autojump_clock: MockClock) -> None:
    monitor = PerformanceMonitor(Performance(), Machine().open)
    assert monitor.as_json(None) == {"enabled": True, "gpu_stats": None, "sys_stats": None}
    assert monitor.as_json(START) == {"enabled": True, "gpu_stats": [], "sys_stats": []}
    await after(monitor, 11)
    document = monitor.as_json(None)
    assert list(document) == ["enabled", "gpu_stats", "sys_stats"]
    assert [sample["timestamp"] for sample in document["sys_stats"]] == [
        "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z",
    ]  # fmt: skip
    assert [sample["id"] for sample in document["gpu_stats"]] == [0, 1, 0, 1], "oldest first"
    newer = monitor.as_json(START + timedelta(seconds=1))
    assert (len(newer["sys_stats"]), len(newer["gpu_stats"])) == (1, 2)
    assert list(document["sys_stats"][0]) == [
        "timestamp", "cpu_util_per_core", "mem_total_mb", "mem_used_mb", "mem_free_mb", "swap_total_mb",
        "swap_used_mb", "load_avg_1", "load_avg_5", "load_avg_15", "net_io",
    ]  # fmt: skip
    assert document["sys_stats"][0]["net_io"] == [{"name": "eth0", "bytes_recv": 1, "bytes_sent": 2}]
