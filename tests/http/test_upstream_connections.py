"""Connections to upstreams: reused, replaced when stale, broken on purpose, and what a crash looks like."""

from __future__ import annotations

import json
import socket

import pytest
import trio
from free_ports import free_port
from http_wire import CHUNKED, JSON, PATIENCE, CutOff, Seen, always, chunk, plain, request, rig, upstream
from time_taken import takes

from swapcli.http import local_requests
from swapcli.http.http1_upstream import UpstreamStopped
from swapcli.http.upstream_pool import PoolStatistics, UpstreamPool
from swapcore import Endpoint, ModelId, Unloaded

STOPPED = Unloaded(ModelId("m"), "it was stopped: unload")
BODY = b'{"model":"m"}'
ASK = request("POST", "/v1/completions", JSON, body=BODY)


async def test_a_connection_is_used_again() -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        for _ in range(5):
            assert (await served.chat()).body == b"x"
    assert up.connections == 1
    assert len(up.seen) == 5


@pytest.mark.parametrize("header", ["Connection: close", "Connection: Close, x"])
async def test_a_connection_is_not_used_again_when_the_upstream_says_so(header: str) -> None:
    async with upstream(always(plain(b"x", header))) as up, rig(up.endpoint) as served:
        for _ in range(2):
            assert (await served.chat()).body == b"x"
    assert up.connections == 2


async def test_a_kept_connection_that_is_closed_while_idle_is_not_used() -> None:
    streams: list[trio.SocketStream] = []

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        streams.append(stream)
        await stream.send_all(plain(b"x"))

    async with upstream(answer) as up, rig(up.endpoint) as served:
        await served.chat()
        streams[0].socket.close()
        await served.chat()
    assert up.connections == 2
    assert len(up.seen) == 2


async def test_a_kept_connection_that_dies_on_the_next_request_is_replaced_unseen() -> None:
    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        if len(up.seen) == 2:  # the second request, on the kept connection
            stream.socket.close()
        else:
            await stream.send_all(plain(b"answer %d" % len(up.seen)))

    async with upstream(answer) as up, rig(up.endpoint) as served:
        assert (await served.chat()).body == b"answer 1"
        assert (await served.chat()).body == b"answer 3"
        assert served.fleet.leases == ["m", "m"], "no second lease was needed"
    assert [seen.body for seen in up.seen] == [BODY] * 3


async def test_a_response_that_has_begun_is_never_asked_for_again() -> None:
    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        if len(up.seen) == 2:
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-")
            stream.socket.close()
        else:
            await stream.send_all(plain(b"x"))

    async with upstream(answer) as up, rig(up.endpoint) as served:
        await served.chat()
        reply = await served.chat()
        assert reply.status == 502
    assert len(up.seen) == 2


async def test_g17_a_crash_before_the_first_byte_is_repaired_by_another_lease() -> None:
    async def crash(seen: Seen, stream: trio.SocketStream) -> None:
        served.fleet.endpoints["m"] = reborn.endpoint
        stream.socket.close()

    async with (
        upstream(crash) as dying,
        upstream(always(plain(b"restarted"))) as reborn,
        rig(dying.endpoint) as served,
    ):
        reply = await served.chat()
        assert (reply.status, reply.body) == (200, b"restarted")
        assert served.fleet.leases == ["m", "m"]


@pytest.mark.rule("H94", "L166")
async def test_a_request_that_kills_the_process_twice_is_answered_502() -> None:
    async def crash(seen: Seen, stream: trio.SocketStream) -> None:
        stream.socket.close()

    async with upstream(crash) as up, rig(up.endpoint) as served:
        reply = await served.chat()
        error = json.loads(reply.body)
    assert reply.status == 502
    assert error["src"] == "swapcli"
    assert error["error"]["code"] == "upstream_died"
    assert error["error"]["message"].startswith("m: ")
    assert len(up.seen) == 2, "sent once more, never a third time"


@pytest.mark.rule("L59")
async def test_a_process_that_does_not_listen_is_given_a_second_and_then_502() -> None:
    async with rig(Endpoint(f"http://127.0.0.1:{free_port()}")) as served:
        with takes(0.9, most=3):
            reply = await served.chat()
            assert reply.status == 502
            assert b"upstream_died" in reply.body
            assert b"refused" in reply.body


async def test_a_process_that_comes_back_on_its_port_within_that_second_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local_requests, "_RECONNECT_FOR", PATIENCE)  # the second may be over too soon here
    port = free_port()
    async with rig(Endpoint(f"http://127.0.0.1:{port}")) as served, trio.open_nursery() as nursery:
        client = await served.server.client()
        await client.send(ASK)
        while len(served.fleet.leases) < 3:  # noqa: ASYNC110
            await trio.sleep(0.005)
        up = upstream(always(plain(b"back")), port=port)
        await up.__aenter__()
        assert (await client.reply("POST")).body == b"back"
        await up.__aexit__(None, None, None)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_localhost_is_either_family(host: str) -> None:
    if host == "::1" and not _has_ipv6():
        pytest.fail("this machine has no IPv6 loopback; the test needs one")
    async with (
        upstream(always(plain(b"x")), host=host) as up,
        rig(Endpoint(f"http://localhost:{up.port}")) as served,
    ):
        assert (await served.chat()).body == b"x"


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


async def test_closing_an_endpoint_closes_what_is_idle() -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        await served.chat()
        assert served.pool.statistics().idle == 1
        served.pool.close(ModelId("m"), up.endpoint, STOPPED)
        assert served.pool.statistics().idle == 0
        with trio.fail_after(PATIENCE):
            await up.client_gone.wait()
        assert (await served.chat()).body == b"x"
    assert up.connections == 2


async def test_closing_an_endpoint_breaks_a_stream_and_the_client_sees_it() -> None:
    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED + chunk(b"data: 1\n\n"))
        await stream.receive_some(1)
        up.client_gone.set()

    async with upstream(answer) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(ASK)
        await client.head("POST")
        await client.piece()
        served.pool.close(ModelId("m"), up.endpoint, STOPPED)
        with takes(most=0.5), trio.fail_after(10):
            await up.client_gone.wait()
        with pytest.raises(CutOff):
            await client.piece()
        assert served.pool.statistics().busy == 0


async def test_closing_an_endpoint_before_the_answer_is_a_503_and_starts_nothing() -> None:
    asked = trio.Event()

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        asked.set()
        await stream.receive_some(1)

    async with upstream(answer) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(ASK)
        with trio.fail_after(PATIENCE):
            await asked.wait()
        served.pool.close(ModelId("m"), up.endpoint, STOPPED)
        reply = await client.reply("POST")
        assert reply.status == 503
        assert b'"code":"unloaded"' in reply.body
        assert served.fleet.leases == ["m"]


async def test_a_model_that_is_stopped_between_two_pieces_of_its_answer() -> None:
    """The connection is closed while nobody reads from it, as when the client is slow."""

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nfirst")
        await trio.sleep_forever()

    pool = UpstreamPool()
    async with upstream(answer) as up:
        connection = await pool.acquire(up.endpoint)
        question = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        await connection.request(question, (), head_only=False, patience=PATIENCE, nursery=None)
        assert await connection.next_body() == b"first"
        pool.close(ModelId("m"), up.endpoint, STOPPED)
        for _ in range(2):
            with pytest.raises(UpstreamStopped):
                await connection.next_body()


async def test_no_more_than_the_bound_is_kept_idle() -> None:
    release = trio.Event()

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await release.wait()
        await stream.send_all(plain(b"x"))

    async with upstream(answer) as up, rig(up.endpoint) as served:
        served.pool.max_idle = 3
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(served.chat)
            while len(up.seen) < 10:  # noqa: ASYNC110
                await trio.sleep(0.005)
            release.set()
        assert served.pool.statistics().idle == 3


async def test_closing_an_endpoint_while_a_connection_to_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, connect = trio.Event(), trio.Event(), trio.open_tcp_stream

    async def slow_connect(host: str, port: int) -> trio.SocketStream:
        begun.set()
        await go_on.wait()
        return await connect(host, port)

    pool = UpstreamPool()
    async with upstream(always(plain(b"x"))) as up:
        monkeypatch.setattr(trio, "open_tcp_stream", slow_connect)

        async def acquire() -> None:
            with pytest.raises(UpstreamStopped):
                await pool.acquire(up.endpoint)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(acquire)
            await begun.wait()
            pool.close(ModelId("m"), up.endpoint, STOPPED)
            go_on.set()
        assert pool.statistics() == PoolStatistics(idle=0, busy=0)
        with trio.fail_after(PATIENCE):
            await up.client_gone.wait()
