"""Endpoints and specs."""

from __future__ import annotations

import pytest

from swapcore import Endpoint, ModelId, ModelSpec


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
