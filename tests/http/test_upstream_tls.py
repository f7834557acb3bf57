"""Upstreams that speak https: relayed to when their certificate is trusted, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest
from encrypted_upstream import encrypted_upstream
from http_wire import rig

from swapcli.config import Configuration, PeerConfig


async def test_a_trusted_upstream_is_relayed_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with encrypted_upstream(tmp_path) as (endpoint, certificate):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with rig(endpoint) as served:
            for _ in range(2):
                assert (await served.chat()).body == b"over tls"
            assert served.pool.statistics().idle == 1


async def test_an_upstream_that_is_not_trusted_gets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    async with encrypted_upstream(tmp_path) as (endpoint, _), rig(endpoint) as served:
        reply = await served.chat()
    assert reply.status == 502
    assert b"certificate verify failed" in reply.body


@pytest.mark.parametrize("is_trusted", [True, False], ids=["trusted", "not trusted"])
async def test_a_peer_that_speaks_https(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_trusted: bool
) -> None:
    async with encrypted_upstream(tmp_path) as (endpoint, certificate):
        if is_trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        else:
            monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        config = Configuration(
            peers={"far": PeerConfig(endpoint.url, ("x",))}, peer_models={"x": ("far", "x")}
        )
        async with rig(config=config) as served:
            reply = await served.chat(b'{"model":"x"}')
    if is_trusted:
        assert (reply.status, reply.body) == (200, b"over tls")
    else:
        assert reply.status == 502
        assert b"peer proxy error: " in reply.body
        assert b"certificate verify failed" in reply.body
