"""Endpoints and specs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf, nan

import pytest

from swapcore import Endpoint, Liveness, ModelId, ModelSpec, RestartPolicy, SchedulingPolicy


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "base_path", "query"),
    [
        ("http://127.0.0.1:5800", "http", "127.0.0.1", 5800, "", ""),
        ("http://localhost:5800/", "http", "localhost", 5800, "", ""),
        ("https://example.test/v1/?tok=1", "https", "example.test", 443, "/v1", "tok=1"),
        ("http://[::1]:80/a/b", "http", "::1", 80, "/a/b", ""),
        ("HTTP://h", "http", "h", 80, "", ""),
    ],
)
def test_parts_of_an_endpoint(
    url: str, scheme: str, host: str, port: int, base_path: str, query: str
) -> None:
    endpoint = Endpoint(url)
    assert (endpoint.scheme, endpoint.host, endpoint.port) == (scheme, host, port)
    assert (endpoint.base_path, endpoint.query) == (base_path, query)
    assert endpoint == Endpoint(url)
    assert hash(endpoint) == hash(Endpoint(url))


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "http://", "http://h:70000", "http://h:x", "/path"])
def test_an_endpoint_without_host_or_with_a_bad_port_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"host|[Pp]ort"):
        Endpoint(url)


def test_a_spec_takes_any_sequence_as_command() -> None:
    spec = ModelSpec(ModelId("m"), ("a", "b"), "http://h:1")
    assert spec.command == ("a", "b")
    assert spec == ModelSpec(ModelId("m"), ("a", "b"), "http://h:1")


MODEL: Callable[..., object] = partial(ModelSpec, ModelId("m"))


@pytest.mark.parametrize(
    ("make", "field", "bad", "good"),
    [
        (MODEL, "start_timeout", (0, -1, nan), (0.1, inf)),
        (MODEL, "start_timeout_max", (0, -1, nan), (None, 0.1, inf)),
        (MODEL, "unload_timeout", (-1, nan), (0, inf)),
        (MODEL, "ttl", (-1, nan), (None, 0, inf)),
        (MODEL, "concurrency", (0, -1), (None, 1)),
        (MODEL, "max_waiting", (-5,), (None, 0)),
        (MODEL, "stop_signal", (0, -9), (15,)),
        (Liveness, "every", (-1, nan), (0, 1)),
        (Liveness, "silent", (-1, nan), (0, 1)),
        (RestartPolicy, "intensity", (0, -1), (1,)),
        (RestartPolicy, "period", (-1, nan), (0, inf)),
        (RestartPolicy, "backoff", (-1, nan), (0, inf)),
        (RestartPolicy, "backoff_max", (-1, nan), (0, inf)),
        (SchedulingPolicy, "max_wait", (-1, nan), (0, inf)),
        (SchedulingPolicy, "leeway", (-1, nan), (0, inf)),
        (SchedulingPolicy, "min_residency", (-1, nan), (0, inf)),
        (SchedulingPolicy, "max_drain", (-1, nan), (0, inf)),
    ],
)
def test_a_number_that_makes_no_sense_is_refused_with_its_name(
    make: Callable[..., object], field: str, bad: tuple[float, ...], good: tuple[float | None, ...]
) -> None:
    for value in bad:
        with pytest.raises(ValueError, match=rf"'{field}' must be .*: {value}"):
            make(**{field: value})
    for allowed in good:
        make(**{field: allowed})


@pytest.mark.parametrize("field", ["command", "stop_command"])
def test_a_command_is_not_one_text(field: str) -> None:
    with pytest.raises(ValueError, match="not one text: 'llama-server --port 1'"):
        MODEL(**{field: "llama-server --port 1"})
