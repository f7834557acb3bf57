"""What one connection can do to the others, and to the server's end: nothing."""

from __future__ import annotations

import logging

import h2.config
import h2.connection
import h2.events
import pytest
import trio
from http_wire import (
    CHUNKED,
    END,
    JSON,
    PATIENCE,
    Client,
    CutOff,
    Seen,
    always,
    chunk,
    plain,
    request,
    rig,
    serving,
    upstream,
)
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from time_taken import seconds_waited, slowness, takes

from swapcli.http import ServerLimits

ASK = request("POST", "/v1/chat/completions", JSON, body=b'{"model":"m"}')
UPGRADE = (
    b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(
    "data",
    [
        UPGRADE + b"X",
        UPGRADE,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: !!!!\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_200_000,
    ],
    ids=[
        "websocket upgrade with a trailing byte", "websocket upgrade", "TLS", "bad HTTP/2", "bad h2c upgrade",
        "bad chunk", "bad header", "no host", "bad path", "endless head",
    ],
)  # fmt: skip
async def test_a_broken_connection_never_ends_the_server(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    async with upstream(always(plain(b"fine"))) as up, rig(up.endpoint) as served:
        neighbour = await served.server.client()
        assert (await neighbour.ask("GET", "/health")).status == 200
        for _ in range(3):
            client = await served.server.client()
            await client.send(data)
            await client.stream.send_eof()
            await client.rest()
        assert (await neighbour.ask("GET", "/health")).status == 200
        assert (await served.chat()).body == b"fine"


@pytest.mark.parametrize(("path", "status"), [("/v1/models", b"200"), ("/nope", b"404")])
async def test_what_is_no_websocket_is_answered_as_ever_and_the_connection_closed(
    path: str, status: bytes
) -> None:
    async with rig() as served:
        client = await served.server.client()
        await client.send(UPGRADE.replace(b"/v1/models", path.encode()))
        answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nConnection: close\r\n" in answer


async def test_two_lengths_are_refused_and_the_connection_closed() -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b'{"model":"m"}') + END + ASK
        )
        answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert up.seen == []


async def test_a_request_behind_the_last_one_of_a_connection_keeps_nothing_alive() -> None:
    async with rig() as served:
        await served.ask("GET", "/health")  # what is made once is there now
        tasks = trio.lowlevel.current_statistics().tasks_living
        for _ in range(5):
            client = await served.server.client()
            await client.send(request("GET", "*") + request("GET", "/health"))
            assert (await client.rest()).count(b"HTTP/1.1 400 ") == 1
        with trio.fail_after(PATIENCE):
            while trio.lowlevel.current_statistics().tasks_living > tasks:  # noqa: ASYNC110
                await trio.sleep(0.005)


async def test_an_http2_upload_that_is_refused_leaves_the_other_streams_alone() -> None:
    async with upstream(always(plain(b"fine"))) as up, rig(up.endpoint) as served:
        client = Http2Client(await served.server.client())
        client.connection.send_headers(1, [(":method", "CONNECT"), (":authority", "x")])
        client.connection.send_data(1, b"for nobody")
        await client.ask(3, "/v1/completions", b'{"model":"m"}')
        refused = await client.until(h2.events.ResponseReceived)
        assert isinstance(refused, h2.events.ResponseReceived)
        assert dict(refused.headers)[b":status"] == b"400"
        await client.until(h2.events.DataReceived)
        assert client.body == b"fine"


async def test_an_error_before_the_body_does_not_wedge_the_next_request() -> None:
    async with upstream(always(plain(b"fine"))) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        head = b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
        for _ in range(3):
            await client.send(head)
            await trio.sleep(0.02)  # the head alone is in the server's hands
            await client.send(b"x" * 100_000)
            assert (await client.reply("POST")).status == 404
            assert (await client.ask("POST", "/v1/completions", JSON, body=b'{"model":"m"}')).body == b"fine"


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
async def test_a_body_that_is_too_large_gets_its_413_while_the_client_still_sends(announced: bool) -> None:
    limits = ServerLimits(model_body_size=1_000_000)
    async with rig(limits=limits) as served:
        client = await served.server.client()
        size = 30_000_000
        framing = f"Content-Length: {size}" if announced else "Transfer-Encoding: chunked"
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
        )

        async def upload() -> None:
            body = b"A" * size
            await client.stream.send_all(head.encode() + (body if announced else chunk(body) + END))

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(upload)
                reply = await client.reply("POST")
        assert reply.status == 413
        assert b'"code":"body_too_large"' in reply.body


async def test_a_body_that_stops_arriving_is_answered_408() -> None:
    async with rig(limits=ServerLimits(body_silence=0.2)) as served:
        client = await served.server.client()
        await client.send(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        assert (await client.reply("POST")).status == 408


async def test_an_idle_connection_is_closed_after_a_while() -> None:
    async with rig(limits=ServerLimits(keep_alive=0.3)) as served:
        used, fresh = await served.server.client(), await served.server.client()
        await used.ask("GET", "/health")
        half = await served.server.client()
        await half.send(b"GET / HTTP/1.1\r\nHost:")
        with takes(most=2), trio.fail_after(20):
            assert await used.rest() == b""
            assert await fresh.rest() == b""
            assert await half.rest() == b""


async def test_a_busy_connection_is_not_idle() -> None:
    async def slow(seen: Seen, stream: trio.SocketStream) -> None:
        await trio.sleep(0.5)
        await stream.send_all(plain(b"late"))

    async with upstream(slow) as up, rig(up.endpoint, limits=ServerLimits(keep_alive=0.3)) as served:
        assert (await served.chat()).body == b"late"


# -- the end ---------------------------------------------------------------------------


async def test_stopping_closes_idle_connections_at_once_and_lets_streams_finish() -> None:
    go_on = trio.Event()

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED + chunk(b"data: 1\n\n"))
        await go_on.wait()
        await stream.send_all(chunk(b"data: 2\n\n") + END)

    async with upstream(answer) as up, rig(up.endpoint) as served:
        idle, streaming, fresh = [await served.server.client() for _ in range(3)]
        await idle.ask("GET", "/health")
        await streaming.send(ASK)
        await streaming.head("POST")
        await streaming.piece()
        with takes(most=0.5):
            served.server.drain.stop.set()
            assert await idle.rest() == b""
            assert await fresh.rest() == b""
        await served.server.until_refused()
        go_on.set()
        assert await streaming.piece() == b"data: 2\n\n"
        assert await streaming.piece() is None
        assert await streaming.rest() == b"", "and then it is closed"


@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not reading"])
async def test_a_cut_ends_streams_at_once_even_to_a_client_that_does_not_read(reads: bool) -> None:
    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED)
        while True:
            await stream.send_all(chunk(b"x" * 60_000))
            await trio.sleep(0.01 if reads else 0)

    async with upstream(answer) as up:
        started = waited = 0.0
        async with rig(up.endpoint) as served:
            client = await served.server.client()
            await client.send(ASK)
            await client.head("POST")
            await client.piece()
            if not reads:
                await trio.sleep(0.3)  # until every buffer is full
            started, waited = trio.current_time(), seconds_waited()
            served.server.drain.cut.set()
            with pytest.raises(CutOff):
                await client.rest_of_body()
        took = trio.current_time() - started - (seconds_waited() - waited)
        assert took < 0.5 * slowness(), "the server is gone"


async def test_cancelling_the_server_ends_it_at_once_even_when_a_client_does_not_read() -> None:
    async def flood(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 60_000, "more_body": True})

    with trio.CancelScope() as scope:
        async with serving(flood) as server:
            client = await server.client()
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.head()
            await trio.sleep(0.3)
            scope.cancel()
            started, waited = trio.current_time(), seconds_waited()
            await trio.sleep_forever()
    assert trio.current_time() - started - (seconds_waited() - waited) < slowness()


# -- HTTP/2 -----------------------------------------------------------------------------


class Http2Client:
    """A connection that speaks HTTP/2 from its first byte."""

    def __init__(self, client: Client) -> None:
        self.stream = client.stream
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.connection.initiate_connection()
        self.events: list[h2.events.Event] = []

    async def ask(self, stream_id: int, path: str, body: bytes, *headers: tuple[str, str]) -> None:
        fixed = [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "two.example")]
        self.connection.send_headers(stream_id, [*fixed, ("content-type", "application/json"), *headers])
        self.connection.send_data(stream_id, body, end_stream=True)
        await self.stream.send_all(self.connection.data_to_send())

    async def until(self, kind: type[h2.events.Event]) -> h2.events.Event:
        with trio.fail_after(PATIENCE):
            while True:
                for event in self.events:
                    if isinstance(event, kind):
                        return event
                data = await self.stream.receive_some(65536)
                assert data, f"closed before {kind.__name__}: {self.events}"
                for event in self.connection.receive_data(data):
                    self.events.append(event)
                    if isinstance(event, h2.events.DataReceived):
                        self.connection.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id
                        )
                await self.stream.send_all(self.connection.data_to_send())

    @property
    def body(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, h2.events.DataReceived))


async def test_http2_is_relayed() -> None:
    async with upstream(always(plain(b"x" * 500_000, "X-A: B"))) as up, rig(up.endpoint) as served:
        client = Http2Client(await served.server.client())
        await client.ask(1, "/v1/completions", b'{"model":"m"}')
        response = await client.until(h2.events.ResponseReceived)
        await client.until(h2.events.StreamEnded)
    assert isinstance(response, h2.events.ResponseReceived)
    assert dict(response.headers)[b"x-a"] == b"B"
    assert client.body == b"x" * 500_000
    assert up.seen[0]["host"] == "two.example"


@pytest.mark.rule("H95")
async def test_http2_trailers_are_relayed_to_a_client_that_wants_them() -> None:
    response = (
        b"HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunk(b"body")
        + b"0\r\nX-Sum: 7\r\n\r\n"
    )
    async with upstream(always(response)) as up, rig(up.endpoint) as served:
        client = Http2Client(await served.server.client())
        await client.ask(1, "/v1/completions", b'{"model":"m"}', ("te", "trailers"))
        trailers = await client.until(h2.events.TrailersReceived)
    assert isinstance(trailers, h2.events.TrailersReceived)
    assert dict(trailers.headers)[b"x-sum"] == b"7"
    assert client.body == b"body"


async def test_g45_http2_gets_a_reset_when_the_upstream_dies_in_mid_stream() -> None:
    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        if b"ok" in seen.body:
            await stream.send_all(plain(b"still here"))
            return
        await stream.send_all(CHUNKED + chunk(b"data: 1\n\n"))
        with trio.fail_after(PATIENCE):
            await came.wait()
        stream.socket.close()

    came = trio.Event()
    async with upstream(answer) as up, rig(up.endpoint) as served:
        client = Http2Client(await served.server.client())
        await client.ask(1, "/v1/completions", b'{"model":"m"}')
        await client.until(h2.events.DataReceived)
        came.set()
        reset = await client.until(h2.events.StreamReset)
        assert isinstance(reset, h2.events.StreamReset)
        assert reset.stream_id == 1
        assert client.body == b"data: 1\n\n"
        assert not any(isinstance(event, h2.events.StreamEnded) for event in client.events)
        client.events.clear()
        await client.ask(3, "/v1/completions", b'{"model":"m","ok":1}')
        await client.until(h2.events.StreamEnded)
        assert client.body == b"still here", "the other streams of the connection live on"


async def test_an_http2_client_that_resets_its_stream_is_seen_upstream() -> None:
    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED + chunk(b"data: 1\n\n"))
        await stream.receive_some(1)
        up.client_gone.set()

    async with upstream(answer) as up, rig(up.endpoint) as served:
        client = Http2Client(await served.server.client())
        await client.ask(1, "/v1/completions", b'{"model":"m"}')
        await client.until(h2.events.DataReceived)
        client.connection.reset_stream(1)
        await client.stream.send_all(client.connection.data_to_send())
        with takes(most=0.5), trio.fail_after(10):
            await up.client_gone.wait()
