"""The way to an upstream: proxies, and what each step of it may take."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from encrypted_upstream import encrypted_upstream
from http_wire import PATIENCE, always, plain, rig, upstream

from swapcli.config import PeerTimeouts, Timeouts
from swapcli.http import ProxyEnvironment, UpstreamPool
from swapcli.http.http1_upstream import UpstreamGone
from swapcli.http.upstream_request import UpstreamTimeouts, upstream_timeouts
from swapcore import Endpoint


def through(port: int, credentials: str = "") -> ProxyEnvironment:
    url = f"http://{credentials}127.0.0.1:{port}"
    return ProxyEnvironment.of({"HTTP_PROXY": url, "HTTPS_PROXY": url})


async def test_h93_a_proxy_is_told_where_to_send_what_is_not_encrypted() -> None:
    async with upstream(always(plain(b"by proxy"))) as proxy:
        async with rig(Endpoint("http://model.example:81/base?a=b")) as served:
            served.pool.proxies = through(proxy.port, "user:pass@")
            reply = await served.chat(b'{"model":"m"}', "Proxy-Authorization: mine")
            assert reply.body == b"by proxy"
    seen = proxy.seen[0]
    assert seen.line == "POST http://model.example:81/base/v1/chat/completions?a=b HTTP/1.1"
    assert seen.values("proxy-authorization") == ["Basic dXNlcjpwYXNz"]


@asynccontextmanager
async def connecting_proxy(to: int, answer: bytes) -> AsyncGenerator[tuple[int, bytearray]]:
    """A proxy that answers the head of a CONNECT with ``answer``, and then connects to the port ``to``."""
    head = bytearray()

    async def copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
        try:
            while data := await source.receive_some():
                await target.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        source.socket.close()
        target.socket.close()

    async def converse(stream: trio.SocketStream) -> None:
        while not head.endswith(b"\r\n\r\n"):
            head.extend(await stream.receive_some())
        await stream.send_all(answer)
        if b" 200 " not in answer:
            stream.socket.close()
            return
        other = await trio.open_tcp_stream("127.0.0.1", to)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(copy, stream, other)
            nursery.start_soon(copy, other, stream)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, converse, listeners)
        yield listeners[0].socket.getsockname()[1], head
        nursery.cancel_scope.cancel()


async def test_h93_to_what_is_encrypted_a_proxy_only_connects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The certificate is for localhost, which is reached through no proxy otherwise.
    monkeypatch.setattr("swapcli.http.forward_proxy._is_here", lambda host: False)
    async with encrypted_upstream(tmp_path) as (endpoint, certificate):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with connecting_proxy(endpoint.port, b"HTTP/1.1 200 Go\r\n\r\n") as (proxy_port, head):
            async with rig(endpoint) as served:
                served.pool.proxies = through(proxy_port, "user:pass@")
                assert (await served.chat()).body == b"over tls"
    assert head.startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % endpoint.port)
    assert b"roxy-authorization: Basic dXNlcjpwYXNz\r\n" in head.replace(b"P", b"p")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n", b"the proxy 127.0.0.1: it answered 407"),
        (b"nonsense\r\n\r\n", b"the proxy 127.0.0.1"),
        (b"", b"the proxy 127.0.0.1"),
    ],
)
async def test_a_proxy_that_does_not_connect_is_a_502_that_says_so(answer: bytes, why: bytes) -> None:
    async with connecting_proxy(0, answer) as (port, _), rig(Endpoint("https://model.example")) as served:
        served.pool.proxies = through(port)
        reply = await served.chat()
    assert reply.status == 502
    assert why in reply.body


async def test_h93_a_tls_handshake_may_take_only_so_long() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")  # whose backlog takes the connection
    endpoint = Endpoint(f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
    pool, started = UpstreamPool(), trio.current_time()
    with pytest.raises(UpstreamGone, match=r"no TLS handshake within 0\.1 s"):
        await pool.acquire(endpoint, UpstreamTimeouts(tls_handshake=0.1))
    assert trio.current_time() - started < PATIENCE
    await listeners[0].aclose()


async def test_h93_an_idle_connection_is_kept_only_so_long() -> None:
    pool, long, short = UpstreamPool(), UpstreamTimeouts(), UpstreamTimeouts(idle=0.05)
    async with upstream(always(plain(b"x"))) as up:
        for count, kept in ((1, long), (1, long), (2, short)):
            connection = await pool.acquire(up.endpoint, kept)
            head = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
            await connection.request(head, (), head_only=False, patience=PATIENCE, nursery=None)
            while await connection.next_body():
                pass
            pool.release(up.endpoint, connection, kept)
            assert up.connections == count
            await trio.sleep(0.1)
        pool.close_all()


async def test_h93_tcp_probes_connections_that_say_nothing() -> None:
    pool = UpstreamPool()
    async with upstream(always(plain(b"x"))) as up:
        for seconds, is_on in ((7.0, 1), (float("inf"), 0)):
            connection = await pool.acquire(up.endpoint, UpstreamTimeouts(keepalive=seconds), fresh=True)
            sock = connection._socket
            assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) == is_on
            if is_on:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 7
            pool.release(up.endpoint, connection)


def test_h93_limits_of_a_configuration() -> None:
    inf = float("inf")
    assert upstream_timeouts(Timeouts()) == UpstreamTimeouts(30, 10, 90, 30, inf)
    assert upstream_timeouts(PeerTimeouts()).response_head == 60
    none = Timeouts(connect=0, tls_handshake=0, idle_conn=0, keepalive=0, response_header=0)
    assert upstream_timeouts(none) == UpstreamTimeouts(inf, inf, inf, 15, inf)
    assert upstream_timeouts(attrs.evolve(none, keepalive=-1)).keepalive == inf
