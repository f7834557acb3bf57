"""Upstreams that speak https: relayed to when their certificate is trusted, and only then."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from http_wire import plain, rig
from localhost_certificate import write_certificate

from swapcore import Endpoint


@asynccontextmanager
async def tls_upstream(folder: Path) -> AsyncGenerator[tuple[Endpoint, Path]]:
    """Answer every request on https; gives the endpoint, and the file of its certificate."""
    certificate, key = write_certificate(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def converse(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            while await stream.receive_some():
                await stream.send_all(plain(b"over tls"))
        except trio.BrokenResourceError:
            pass  # the relay did not like the certificate, or has closed
        finally:
            stream.transport_stream.socket.close()

    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1", https_compatible=True)
    inner = listeners[0].transport_listener
    assert isinstance(inner, trio.SocketListener)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, converse, listeners))
        yield Endpoint(f"https://localhost:{inner.socket.getsockname()[1]}"), certificate
        nursery.cancel_scope.cancel()


async def test_a_trusted_upstream_is_relayed_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with tls_upstream(tmp_path) as (endpoint, certificate):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with rig(endpoint) as served:
            for _ in range(2):
                assert (await served.chat()).body == b"over tls"
            assert served.pool.statistics().idle == 1


async def test_an_upstream_that_is_not_trusted_gets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    async with tls_upstream(tmp_path) as (endpoint, _), rig(endpoint) as served:
        reply = await served.chat()
    assert reply.status == 502
    assert b"certificate verify failed" in reply.body
