"""``/metrics``, ``/api/performance`` and ``/api/hardware``; every metric is documented."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from http_wire import JSON, Rig, always, plain, rig, upstream
from prometheus_client.parser import text_string_to_metric_families

from swapcli import rfc3339
from swapcli.config import Configuration, ModelConfig, Performance
from swapcli.http.measurements import Measurements
from swapcli.machine import GpuSample, SystemSample
from swapcli.machine.hardware import architecture, detect
from swapcli.machine.monitor import open_machine
from swapcore import Crashed, LeaseRefused, ModelId, Overloaded, ProcState, SwapCommitted

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
START = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
M = ModelId("m")


def system(at: datetime = START) -> SystemSample:
    return SystemSample(
        at=at, cpu_util_per_core=(20.0, 1e6), mem_total_mb=64_000, mem_used_mb=1000, mem_free_mb=3,
        swap_used_mb=0, swap_total_mb=8, load_avg=(0.5, 1.25, 300.5),
        net_io={"eth0": (123_456_789_012, 7), "wlan0": (0, 1)},
    )  # fmt: skip


def fill(measured: Measurements) -> None:
    """Let there be something of everything."""
    measured.monitor.system.append(system())
    measured.monitor.gpus.append(
        [
            GpuSample(at=START, id=1, name='a "b"\\c\nd', mem_total_mb=24_576, mem_used_mb=6144),
            GpuSample(at=START, id=0, name="first", uuid="GPU-1", temp_c=55, power_draw_w=250.5),
        ]
    )
    for event in (
        LeaseRefused(1.0, M, Overloaded(M, "full")),
        SwapCommitted(2.0, M, (ModelId("m2"),), "m runs alone"),
        Crashed(3.0, ModelId("m2"), None),
    ):
        measured.metrics.take(event)
    measured.metrics.lease_granted(M, 2.5)
    measured.metrics.restarts[M] += 1
    measured.metrics.loads.observe(M, 3.0)
    measured.metrics.stops.observe(M, 0.2)
    measured.metrics.request_ended(M, 200, first_byte=0.1, total=0.7)


async def exposition(served: Rig) -> str:
    reply = await served.ask("GET", "/metrics")
    assert reply.status == 200
    assert reply["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return reply.body.decode()


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


LLAMASWAP = [
    *("cpu_util_percent", "memory_total_bytes", "memory_used_bytes", "memory_free_bytes"),
    *("swap_total_bytes", "swap_used_bytes", "load_average", "network_bytes_total"),
    *("gpu_temperature_celsius", "gpu_vram_temperature_celsius", "gpu_util_percent"),
    *("gpu_memory_util_percent", "gpu_memory_used_bytes", "gpu_memory_total_bytes"),
    *("gpu_fan_speed_percent", "gpu_power_draw_watts"),
]


@pytest.mark.rule("H219")
async def test_h190_families_their_order_and_their_labels() -> None:
    async with rig() as served:
        fill(served.measured)
        text = await exposition(served)
    kinds = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    assert [name for name, _ in kinds if name.startswith("llamaswap_")] == [
        f"llamaswap_{n}" for n in LLAMASWAP
    ]
    assert {kind for name, kind in kinds if name.startswith("llamaswap_")} == {"gauge", "counter"}
    assert len(kinds) == len(dict(kinds)) == text.count("# HELP ")
    assert "# HELP llamaswap_gpu_power_draw_watts GPU power draw in watts\n" in text
    found = samples(text)

    def value(name: str, /, **labels: str) -> float:
        return found[f"llamaswap_{name}", frozenset(labels.items())]

    assert value("cpu_util_percent", core="1") == 1e6
    assert value("load_average", interval="15m") == 300.5
    assert value("network_bytes_total", interface="eth0", direction="recv") == 123_456_789_012
    assert value("network_bytes_total", interface="wlan0", direction="sent") == 1
    assert value("gpu_temperature_celsius", id="0", name="first", uuid="GPU-1") == 55
    gpus = [line for line in text.splitlines() if line.startswith("llamaswap_gpu_temperature_celsius{")]
    assert ["first" in line for line in gpus] == [True, False], "sorted by id"


async def test_h191_numbers_and_escapes() -> None:
    async with rig() as served:
        fill(served.measured)
        text = await exposition(served)
    found = samples(text)
    assert found["llamaswap_memory_total_bytes", frozenset()] == 64_000 * 1024 * 1024
    name = ("name", 'a "b"\\c\nd')
    assert found["llamaswap_gpu_memory_total_bytes", frozenset((("id", "1"), name))] == 24_576 * 1024 * 1024
    assert 'name="a \\"b\\"\\\\c\\nd"' in text
    assert 'uuid=""' not in text


async def test_h191_no_interfaces_and_no_gpus_mean_no_families() -> None:
    async with rig() as served:
        quiet = SystemSample(
            at=START, cpu_util_per_core=(), mem_total_mb=1, mem_used_mb=1, mem_free_mb=0, swap_total_mb=0,
            swap_used_mb=0, load_avg=(0.0, 0.0, 0.0), net_io={},
        )  # fmt: skip
        served.measured.monitor.system.append(quiet)
        text = await exposition(served)
    assert "llamaswap_gpu" not in text
    assert "llamaswap_network" not in text


async def test_h190_there_are_no_system_figures_before_the_first_sample() -> None:
    async with rig() as served:
        assert "llamaswap_" not in await exposition(served)


async def test_h184_disabled() -> None:
    config = Configuration(models={"m": ModelConfig()}, performance=Performance(disabled=True))
    async with rig(config=config) as served:
        reply = await served.ask("GET", "/metrics")
        assert (reply.status, reply.body) == (503, b"# performance monitor not available\n")
        assert reply["content-type"].startswith("text/plain")
        reply = await served.ask("GET", "/api/performance")
        assert (reply.status, reply.body) == (503, b'{"enabled":false}\n')
        assert reply["content-type"] == "application/json"


async def test_g38_figures_of_models_and_requests() -> None:
    async with upstream(always(plain(b"hello"))) as up, rig(up.endpoint) as served:
        served.fleet.states["m"] = ProcState.READY
        assert (await served.chat()).status == 200
        assert (await served.ask("POST", "/v1/completions", JSON, body=b'{"model":"nobody"}')).status == 404
        fill(served.measured)
        found = samples(await exposition(served))

    def value(name: str, /, **labels: str) -> float:
        return found[f"swapcli_{name}", frozenset(labels.items())]

    assert value("model_state", model="m", state="ready") == 1
    assert value("model_state", model="m", state="stopped") == 0
    assert value("requests_total", model="m", status="200") == 2, "one of them was real"
    assert value("request_seconds_count", model="m") == 2
    assert value("first_byte_seconds_bucket", model="m", le="+Inf") == 2
    assert value("wait_seconds_count", model="m") == 2
    assert 2.5 < value("wait_seconds_sum", model="m") < 4
    assert value("load_seconds_bucket", model="m", le="2.5") == 0
    assert value("load_seconds_bucket", model="m", le="5.0") == 1
    assert value("stop_seconds_count", model="m") == 1
    assert value("swaps_total", reason="m runs alone") == 1
    assert value("evictions_total", model="m2") == value("crashes_total", model="m2") == 1
    assert value("restarts_total", model="m") == 1
    assert value("refusals_total", model="m", code="queue_full") == 1
    assert not any("nobody" in dict(labels).values() for _, labels in found)


async def test_what_happens_to_a_model_is_counted_from_nought() -> None:
    """`increase()` in Prometheus does not see the first value of a counter."""
    async with rig() as served:
        served.fleet.states["m"] = ProcState.READY
        before = samples(await exposition(served))
        served.measured.metrics.take(Crashed(3.0, ModelId("m"), None))
        served.measured.metrics.take(Crashed(4.0, ModelId("gone with a reload"), None))
        after = samples(await exposition(served))
    of_m = frozenset((("model", "m"),))
    for name in ("evictions", "crashes", "restarts"):
        assert before[f"swapcli_{name}_total", of_m] == 0
    assert after["swapcli_crashes_total", of_m] == 1
    assert after["swapcli_crashes_total", frozenset((("model", "gone with a reload"),))] == 1


async def test_g38_requests_by_path_are_counted_like_others() -> None:
    async with upstream(always(plain(b"hello"))) as up, rig(up.endpoint) as served:
        served.fleet.states["m"] = ProcState.READY
        path = "/upstream/m/v1/chat/completions"
        assert (await served.ask("POST", path, JSON, body=b'{"messages":[]}')).status == 200
        assert (await served.ask("GET", "/upstream/m/some/page")).status == 200
        assert (await served.ask("GET", "/upstream/m")).status == 301
        found = samples(await exposition(served))
        recorded = json.loads((await served.ask("GET", "/api/metrics/activity")).body)
    for name in ("requests_total", "request_seconds_count", "first_byte_seconds_count"):
        labels = {"model": "m", **({"status": "200"} if name == "requests_total" else {})}
        assert found[f"swapcli_{name}", frozenset(labels.items())] == 2, name
    assert [(record["model"], record["req_path"]) for record in recorded["data"]] == [
        ("m", "/v1/chat/completions")
    ]


async def test_figures_of_the_record() -> None:
    async with upstream(always(plain(b"hello"))) as up, rig(up.endpoint) as served:
        assert (await served.chat()).status == 200
        before = samples(await exposition(served))
        await served.ask("GET", "/api/metrics/activity")  # writes down what waits
        after = samples(await exposition(served))

    def values(found: dict[tuple[str, frozenset[tuple[str, str]]], float]) -> list[float]:
        names = ("records_waiting", "records_written_total", "records_lost_total", "record_failures_total")
        return [found[f"swapcli_{name}", frozenset()] for name in names]

    assert values(before) == [1, 0, 0, 0]
    assert values(after) == [0, 1, 0, 0]


async def test_every_metric_is_documented_and_nothing_else_is() -> None:
    async with rig() as served:
        served.fleet.states["m"] = ProcState.READY
        fill(served.measured)
        text = await exposition(served)
    shown = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| `")]
    documented = {row[1].strip(" `"): (row[2].strip(), row[3]) for row in rows}
    assert {name: kind for name, (kind, _) in documented.items()} == shown
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = next(name for name in (sample.name, family.name) if name in shown)
            labels.setdefault(name, set()).update(set(sample.labels) - {"le"})
    for name, (_, told) in documented.items():
        assert set(re.findall(r"`(\w+)`", told)) == labels[name], name


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    dashboard = json.loads((ROOT / "examples" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        for name in re.findall(r"\b(?:swapcli|llamaswap)_\w+", target["expr"])
    }
    documented = set(re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE))
    assert len(asked) > 15
    for name in asked:
        assert name in documented or re.sub(r"_(bucket|sum|count)$", "", name) in documented, name


async def test_h186_h187_performance() -> None:
    async with rig() as served:
        reply = await served.ask("GET", "/api/performance")
        assert reply.body == b'{"enabled":true,"gpu_stats":null,"sys_stats":null}\n'
        fill(served.measured)
        document = json.loads((await served.ask("GET", "/api/performance?after=")).body)
    assert document["sys_stats"][0]["timestamp"] == "2026-01-01T12:00:00.25Z"
    assert document["sys_stats"][0]["net_io"][0] == {
        "name": "eth0", "bytes_recv": 123_456_789_012, "bytes_sent": 7,
    }  # fmt: skip
    assert [gpu["mem_util_pct"] for gpu in document["gpu_stats"]] == [25.0, 0.0]


@pytest.mark.parametrize(
    ("after", "found"),
    [
        ("2026-01-01T12:00:00.25Z", 0),
        ("2026-01-01T12:00:00.249999999Z", 1),
        ("2026-01-01T12:00:00Z", 1),
        ("2026-01-01T13:00:00%2B01:00", 1),
        ("2026-01-01T13:00:00+01:00", 1),
        ("2026-01-01T13:00:01%2B01:00", 0),
    ],
)
async def test_h189_after(after: str, found: int) -> None:
    async with rig() as served:
        fill(served.measured)
        document = json.loads((await served.ask("GET", f"/api/performance?after={after}")).body)
    assert len(document["sys_stats"]) == found
    assert len(document["gpu_stats"]) == 2 * found


@pytest.mark.parametrize("after", ["yesterday", "2026-01-01", "2026-01-01T12:00:00", "2026-13-01T12:00:00Z"])
async def test_h189_a_bad_timestamp(after: str) -> None:
    async with rig() as served:
        reply = await served.ask("GET", f"/api/performance?after={after}")
    assert reply.status == 400
    assert b"invalid 'after' timestamp, use RFC3339 format" in reply.body


def test_rfc3339_to_the_microsecond() -> None:
    assert rfc3339.parse("2026-01-01t12:00:00.2500009z") == START
    assert rfc3339.parse("2026-01-01T14:00:00,25+02:00") == START
    for text in ("", "2026-01-01 12:00:00Z", "2026-01-01T12:00:00.Z", "20260101T120000Z"):
        with pytest.raises(ValueError, match="not a timestamp"):
            rfc3339.parse(text)


async def test_this_machine_can_be_measured() -> None:
    read = await trio.to_thread.run_sync(open_machine)
    sample, _ = await trio.to_thread.run_sync(read)
    assert len(sample.cpu_util_per_core) >= 1
    assert all(0 <= percent <= 100 for percent in sample.cpu_util_per_core)
    assert 0 < sample.mem_used_mb < sample.mem_total_mb
    assert "lo" not in sample.net_io


async def test_h193_hardware() -> None:
    async with rig() as served, trio.open_nursery() as nursery:
        nursery.start_soon(served.measured.hardware.take)
        reply = await served.ask("GET", "/api/hardware")
    document = json.loads(reply.body)
    assert reply.body.endswith(b"}\n")
    assert list(document) == [
        "schema_version", "captured_at", "capture", "architecture", "operating_system", "environment", "cpu",
        "memory", "accelerators",
    ]  # fmt: skip
    assert document["schema_version"] == 1
    assert rfc3339.parse(document["captured_at"]).utcoffset() == timedelta(0)
    assert document["capture"]["scope"] == "inference_host"
    assert document["capture"]["method"] == "detected"
    assert document["capture"]["detector"]["name"] == "swapcli"
    assert document["cpu"]["logical_thread_count"] >= 1
    assert list(document["cpu"]) == [
        "vendor", "model", "socket_count", "physical_core_count", "logical_thread_count",
    ]  # fmt: skip
    assert document["memory"]["capacity_bytes"] > 0
    assert isinstance(document["accelerators"], list)


@pytest.mark.rule("C9")
async def test_the_machine_is_looked_at_once_whatever_configurations_come() -> None:
    looks = 0

    def detect() -> dict[str, object]:
        nonlocal looks
        looks += 1
        return {"look": looks}

    async with rig() as served, trio.open_nursery() as nursery:
        served.measured.hardware._detect = detect
        nursery.start_soon(served.measured.run)
        for every in (6.0, 7.0):
            assert json.loads((await served.ask("GET", "/api/hardware")).body) == {"look": 1}
            served.measured.use(Configuration(performance=Performance(every_seconds=every)))
        assert json.loads((await served.ask("GET", "/api/hardware")).body) == {"look": 1}
        nursery.cancel_scope.cancel()


async def test_h193_no_hardware() -> None:
    def fail() -> dict[str, object]:
        raise OSError("no")

    async with rig() as served:
        served.measured.hardware._detect = fail
        await served.measured.hardware.take()
        reply = await served.ask("GET", "/api/hardware")
    assert reply.status == 503
    assert b"hardware detection unavailable" in reply.body


@pytest.mark.parametrize(
    ("machine", "name", "raw"),
    [("x86_64", "x86_64", None), ("AMD64", "x86_64", "AMD64"), ("aarch64", "arm64", "aarch64"),
     ("armv7l", "armv7", "armv7l"), ("s390x", "s390x", None), ("m68k", "other", "m68k"), ("", "other", None)],
)  # fmt: skip
def test_h193_architectures(machine: str, name: str, raw: str | None) -> None:
    assert architecture(machine) == {"name": name, "raw_name": raw}


@pytest.mark.parametrize(
    ("files", "kind", "name"),
    [
        ({".dockerenv": ""}, "container", "docker"),
        ({"run/.containerenv": ""}, "container", "podman"),
        ({"proc/cpuinfo": "flags\t: fpu hypervisor\n", "sys/class/dmi/id/sys_vendor": "QEMU\n"},
         "virtual_machine", "QEMU"),
        ({"proc/cpuinfo": "flags\t: fpu\n"}, "native", None),
        ({}, "unknown", None),
    ],
)  # fmt: skip
def test_h193_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], kind: str, name: str | None
) -> None:
    for variable in ("KUBERNETES_SERVICE_HOST", "container"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("platform.release", lambda: "6.1.0")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert detect(tmp_path)["environment"] == {"kind": kind, "name": name, "version": None}
