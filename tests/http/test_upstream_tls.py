"""Upstreams that speak https: relayed to when their certificate is trusted, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest
from encrypted_upstream import encrypted_upstream
from http_wire import rig


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
