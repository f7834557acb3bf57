"""The numbers that users of llama-swap know, and those that are other ones here on purpose."""

from __future__ import annotations

import pytest

from swapcli._shutdown import DRAIN_SECONDS
from swapcli.activity.inflight import MOST_CHANGES, TICK
from swapcli.config import Configuration, Source, load_sources, scheduling_policy, to_specs
from swapcli.http.event_hub import MOST_FRAMES
from swapcore import ModelLog

NOTHING_SET = """
models:
  a: {cmd: "serve --port ${PORT}"}
  b: {cmd: "serve --port ${PORT}"}
  comfyui_auto: {cmd: serve, proxy: "http://localhost:1"}
  z: {cmd: serve, proxy: "http://localhost:1", concurrencyLimit: 3}
peers: {far: {proxy: "http://far", models: [x]}}
"""


@pytest.fixture(scope="module")
def config() -> Configuration:
    return load_sources([Source("c.yaml", NOTHING_SET)], environ={}).config


@pytest.mark.rule("L167")
def test_what_holds_where_nothing_is_set(config: Configuration) -> None:
    specs = {spec.id: spec for spec in to_specs(config)}
    assert {spec.start_timeout for spec in specs.values()} == {120}
    assert {spec.unload_timeout for spec in specs.values()} == {10}
    assert {spec.ttl for spec in specs.values()} == {None}
    assert [config.models[id].proxy for id in "ab"] == ["http://localhost:5800", "http://localhost:5801"]
    at_once = {str(id): (spec.concurrency, spec.max_waiting) for id, spec in specs.items()}
    # Ten as ever, but the eleventh waits; where a number is set it is as ever.
    assert at_once == {"a": (10, 256), "b": (10, 256), "comfyui_auto": (50, 0), "z": (3, 0)}
    assert scheduling_policy(config).max_wait == 120
    timeouts, of_peers = config.models["a"].timeouts, config.peers["far"].timeouts
    assert (timeouts.response_header, of_peers.response_header) == (0, 60)
    for each in (timeouts, of_peers):
        assert (each.connect, each.keepalive, each.tls_handshake, each.idle_conn) == (30, 30, 10, 90)
    assert config.capture_buffer == 5
    assert config.metrics_max_in_memory == 1000
    assert config.performance.every_seconds == 5


@pytest.mark.rule("L167")
def test_least_values() -> None:
    text = NOTHING_SET + "healthCheckTimeout: 1\n"
    text = text.replace('"http://localhost:1"}', '"http://localhost:1", concurrencyLimit: 7}', 1)
    config = load_sources([Source("c.yaml", text)], environ={}).config
    assert config.health_check_timeout == 15
    assert config.models["comfyui_auto"].parallel_limit == 50


@pytest.mark.rule("L167", "H195", "H147", "H211")
def test_what_cannot_be_set() -> None:
    log = ModelLog()
    log.write(b"x" * 200_000)
    assert len(log.history()) == 102_400
    assert (MOST_CHANGES, TICK, MOST_FRAMES) == (128, 0.25, 1024)
    assert DRAIN_SECONDS == 30
