"""The text that Prometheus reads. Imports its client, so it is imported late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry

from swapcli.activity.journal import JournalStatistics
from swapcli.machine import GpuSample, SystemSample
from swapcli.machine.samples import MIB
from swapcore import ModelId, ProcState, Statistics

from .fleet_metrics import ByModel, FleetMetrics

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


@attrs.frozen(eq=False)
class Exposed(Collector):
    """Everything that is told at one moment."""

    system: SystemSample | None
    """The newest; ``None`` before the first."""
    gpus: Sequence[GpuSample]
    statistics: Statistics
    metrics: FleetMetrics
    lines_dropped: int
    recording: JournalStatistics

    def text(self) -> bytes:
        """Return it in Prometheus' text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        if self.system is not None:
            yield from _of_system(self.system)
        if self.gpus:
            yield from _of_gpus(self.gpus)
        yield from _of_models(self.statistics)
        yield from _of_fleet(self.metrics, self.statistics.models)
        yield _counter(
            "swapcli_log_lines_dropped",
            "Lines that were not printed because nobody read the standard output",
            (),
            [((), self.lines_dropped)],
        )
        yield from _of_recording(self.recording)


def _of_system(sample: SystemSample) -> Iterator[Metric]:
    cores = enumerate(sample.cpu_util_per_core)
    yield _gauge(
        "llamaswap_cpu_util_percent",
        "CPU utilization per core (0-100)",
        [({"core": str(core)}, percent) for core, percent in cores],
    )
    for name, help, mib in (
        ("llamaswap_memory_total_bytes", "Total memory in bytes", sample.mem_total_mb),
        ("llamaswap_memory_used_bytes", "Used memory in bytes", sample.mem_used_mb),
        ("llamaswap_memory_free_bytes", "Free memory in bytes", sample.mem_free_mb),
        ("llamaswap_swap_total_bytes", "Total swap in bytes", sample.swap_total_mb),
        ("llamaswap_swap_used_bytes", "Used swap in bytes", sample.swap_used_mb),
    ):
        yield _gauge(name, help, [({}, mib * MIB)])
    yield _gauge(
        "llamaswap_load_average",
        "Load average",
        [
            ({"interval": interval}, load)
            for interval, load in zip(("1m", "5m", "15m"), sample.load_avg, strict=True)
        ],
    )
    if sample.net_io:
        yield _counter(
            "llamaswap_network_bytes",
            "Total network bytes transferred",
            ("interface", "direction"),
            [
                ((name, direction), count)
                for name, counts in sample.net_io.items()
                for direction, count in zip(("recv", "sent"), counts, strict=True)
            ],
        )


def _of_gpus(gpus: Sequence[GpuSample]) -> Iterator[Metric]:
    ordered = sorted(gpus, key=lambda gpu: gpu.id)
    for name, help, values in (
        ("temperature_celsius", "GPU temperature in Celsius", [gpu.temp_c for gpu in ordered]),
        ("vram_temperature_celsius", "GPU VRAM temperature in Celsius", [gpu.vram_temp_c for gpu in ordered]),
        ("util_percent", "GPU utilization percent (0-100)", [gpu.gpu_util_pct for gpu in ordered]),
        ("memory_util_percent", "GPU memory utilization percent (0-100)",
         [gpu.mem_util_pct for gpu in ordered]),
        ("memory_used_bytes", "GPU memory used in bytes", [gpu.mem_used_mb * MIB for gpu in ordered]),
        ("memory_total_bytes", "GPU memory total in bytes", [gpu.mem_total_mb * MIB for gpu in ordered]),
        ("fan_speed_percent", "GPU fan speed percent (0-100)", [gpu.fan_speed_pct for gpu in ordered]),
        ("power_draw_watts", "GPU power draw in watts", [gpu.power_draw_w for gpu in ordered]),
    ):  # fmt: skip
        labels = map(_gpu_labels, ordered)
        yield _gauge(f"llamaswap_gpu_{name}", help, zip(labels, values, strict=True))


def _gpu_labels(gpu: GpuSample) -> dict[str, str]:
    return {"id": str(gpu.id), "name": gpu.name, **({"uuid": gpu.uuid} if gpu.uuid else {})}


def _of_models(statistics: Statistics) -> Iterator[Metric]:
    models = statistics.models
    yield _gauge(
        "swapcli_model_state",
        "1 for the state that the model's process is in, 0 for the others",
        [
            ({"model": id, "state": state.value}, model.state is state)
            for id, model in models.items()
            for state in ProcState
        ],
    )
    yield _gauge(
        "swapcli_requests_waiting",
        "Requests in line for the model",
        [({"model": id}, model.waiting) for id, model in models.items()],
    )
    yield _gauge(
        "swapcli_requests_served",
        "Requests that use the model now",
        [({"model": id}, model.leases) for id, model in models.items()],
    )
    yield _counter(
        "swapcli_starts",
        "Processes started for the model",
        ("model",),
        [((id,), model.starts) for id, model in models.items()],
    )


def _of_fleet(metrics: FleetMetrics, models: Iterable[ModelId]) -> Iterator[Metric]:
    yield _histogram("swapcli_wait_seconds", "From a request until its model is free for it", metrics.waits)
    yield _histogram("swapcli_load_seconds", "From the start of a process until it is ready", metrics.loads)
    yield _histogram(
        "swapcli_stop_seconds", "From the request to stop until a process is gone", metrics.stops
    )
    yield _histogram(
        "swapcli_first_byte_seconds", "From a request to the first byte of its answer", metrics.first_bytes
    )
    yield _histogram("swapcli_request_seconds", "From a request to the end of its answer", metrics.totals)
    yield _counter(
        "swapcli_requests",
        "Requests to the model that have ended, by status of the answer",
        ("model", "status"),
        [((model, str(status)), count) for (model, status), count in metrics.requests.items()],
    )
    yield _counter(
        "swapcli_swaps",
        "Times that models were stopped to make room, by the planner's reason",
        ("reason",),
        [((reason,), count) for reason, count in metrics.swaps.items()],
    )
    for name, help, counts in (
        ("swapcli_evictions", "Times that the model was stopped to make room", metrics.evictions),
        ("swapcli_crashes", "Times that the model was ready and ended, or hung, by itself", metrics.crashes),
        ("swapcli_restarts", "Starts of the model after a crash", metrics.restarts),
    ):
        # Prometheus takes no notice of a counter's first value: one that began with 1 would alarm nobody.
        counted = dict.fromkeys(models, 0) | counts
        yield _counter(name, help, ("model",), [((model,), count) for model, count in counted.items()])
    yield _counter(
        "swapcli_refusals",
        "Requests that were turned away while they waited, by the answer's code",
        ("model", "code"),
        [(labels, count) for labels, count in metrics.refusals.items()],
    )
    yield _counter(
        "swapcli_events_missed",
        "Events of the supervisor that are missing in these figures",
        (),
        [((), metrics.events_missed)],
    )


def _of_recording(recording: JournalStatistics) -> Iterator[Metric]:
    for name, help, count in (
        ("swapcli_records_written", "Requests that were written down", recording.written),
        (
            "swapcli_records_lost",
            "Requests that could not be written down, and were forgotten",
            recording.lost,
        ),
        (
            "swapcli_record_failures",
            "Attempts to write requests down, or to open their file, that failed",
            recording.failures,
        ),
    ):
        yield _counter(name, help, (), [((), count)])
    yield _gauge(
        "swapcli_records_waiting",
        "Requests that have ended and are not written down yet",
        [({}, recording.waiting)],
    )


def _gauge(name: str, help: str, values: Iterable[tuple[Mapping[str, str], float]]) -> Metric:
    family = GaugeMetricFamily(name, help)
    for labels, value in values:
        family.add_sample(name, dict(labels), value)
    return family


def _counter(
    name: str, help: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> Metric:
    """Without ``_total``, which the format adds."""
    family = CounterMetricFamily(name, help, labels=labels)
    for these, value in values:
        family.add_metric(these, value)
    return family


def _histogram(name: str, help: str, by_model: ByModel) -> Metric:
    family = HistogramMetricFamily(name, help, labels=("model",))
    for model, histogram in by_model.histograms.items():
        family.add_metric((model,), histogram.cumulative(), histogram.sum)
    return family
