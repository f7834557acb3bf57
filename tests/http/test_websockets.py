"""Websockets: byte for byte, both ways, from the request to whichever end closes first."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from http_wire import PATIENCE, Client, Rig, rig
from time_taken import takes
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate

from swapcli.config import Configuration, ModelConfig
from swapcore import Endpoint, ProcState

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    "GET {} HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nX-Mine: 1\r\n\r\n"
)


class Peer:
    """One end of a websocket."""

    def __init__(self, stream: trio.SocketStream, kind: ConnectionType) -> None:
        self.stream = stream
        self.protocol = WSConnection(kind)
        self._events: list[Event] = []

    async def send(self, event: Event) -> None:
        await self.stream.send_all(self.protocol.send(event))

    async def next(self) -> Event:
        with trio.fail_after(PATIENCE):
            while True:
                self._events += self.protocol.events()
                if self._events:
                    return self._events.pop(0)
                data = await self.stream.receive_some(65536)
                self.protocol.receive_data(bytes(data) or None)

    async def message(self) -> str | bytes:
        """Return a whole message."""
        text: list[str] = []
        data: list[bytes] = []
        while True:
            match await self.next():
                case TextMessage(data=piece, message_finished=finished):
                    text.append(piece)
                case BytesMessage(data=raw, message_finished=finished):
                    data.append(bytes(raw))
                case event:
                    raise AssertionError(event)
            if finished:
                return "".join(text) or b"".join(data)


@attrs.define(eq=False)
class WebsocketUpstream:
    endpoint: Endpoint
    asked: list[Request] = attrs.field(factory=list[Request])
    open: int = 0


@asynccontextmanager
async def echoing() -> AsyncGenerator[WebsocketUpstream]:
    """An upstream that sends every message back, and the close too."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    found = WebsocketUpstream(Endpoint(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"))

    async def converse(stream: trio.SocketStream) -> None:
        peer = Peer(stream, ConnectionType.SERVER)
        found.open += 1
        try:
            while True:
                match await peer.next():
                    case Request(subprotocols=protocols) as asked:
                        found.asked.append(asked)
                        chosen = protocols[-1] if protocols else None
                        accept = AcceptConnection(
                            subprotocol=chosen,
                            extensions=[PerMessageDeflate()],
                            extra_headers=[(b"x-up", b"2")],
                        )
                        await peer.send(accept)
                        await peer.send(Ping(b"are you there"))
                    case TextMessage() | BytesMessage() as message:
                        await peer.send(message)
                    case Ping() as ping:
                        await peer.send(ping.response())
                    case CloseConnection(code=1006):
                        return  # the connection has gone
                    case CloseConnection() as close:
                        await peer.send(close.response())
                        return
                    case _:
                        pass
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass
        finally:
            found.open -= 1
            stream.socket.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, converse, listeners)
        yield found
        nursery.cancel_scope.cancel()


async def connected(served: Rig, path: str, **options: object) -> tuple[Peer, AcceptConnection]:
    client = await served.server.client()
    peer = Peer(client.stream, ConnectionType.CLIENT)
    await peer.send(Request(host="test", target=path, **options))  # type: ignore[arg-type]
    accepted = await peer.next()
    assert isinstance(accepted, AcceptConnection), accepted
    return peer, accepted


@pytest.mark.parametrize("path", ["/upstream/m/ws?a=%20", "/props?model=m", "/v1/audio/voices?model=m"])
@pytest.mark.rule("L58")
async def test_h109_messages_both_ways_on_paths_of_models(path: str) -> None:
    async with echoing() as up, rig(up.endpoint) as served:
        peer, accepted = await connected(served, path, subprotocols=["a", "b"])
        assert accepted.subprotocol == "b"
        assert (b"x-up", b"2") in accepted.extra_headers
        assert await peer.next() == Ping(b"are you there")
        await peer.send(TextMessage("grüße"))
        assert await peer.message() == "grüße"
        async with trio.open_nursery() as nursery:  # the echo begins before all was sent
            nursery.start_soon(peer.send, BytesMessage(b"\x00\xff" * 1_500_000))
            assert await peer.message() == b"\x00\xff" * 1_500_000
        await peer.send(Ping(b"mine"))
        assert await peer.next() == Pong(b"mine")
        await peer.send(CloseConnection(4321, "enough"))
        assert await peer.next() == CloseConnection(4321, "enough")
        assert up.asked[0].target == path.removeprefix("/upstream/m")
        with trio.fail_after(PATIENCE):
            while served.fleet.held or served.pool.statistics().busy:  # noqa: ASYNC110
                await trio.sleep(0.005)


async def test_extensions_are_the_business_of_the_ends() -> None:
    async with echoing() as up, rig(up.endpoint) as served:
        peer, accepted = await connected(served, "/upstream/m/ws", extensions=[PerMessageDeflate()])
        assert [type(each) for each in accepted.extensions] == [PerMessageDeflate]
        await peer.next()
        await peer.send(TextMessage("compressed " * 1000))
        assert await peer.message() == "compressed " * 1000


@asynccontextmanager
async def raw_upstream(answer: bytes) -> AsyncGenerator[tuple[Endpoint, list[trio.SocketStream], bytearray]]:
    """An upstream that answers the head with these bytes; what comes after the head is kept."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    streams: list[trio.SocketStream] = []
    received = bytearray()

    async def converse(stream: trio.SocketStream) -> None:
        streams.append(stream)
        while b"\r\n\r\n" not in received:
            received.extend(await stream.receive_some(65536))
        await stream.send_all(answer)
        try:
            while data := await stream.receive_some(65536):
                received.extend(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        received.extend(b"<gone>")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, converse, listeners)
        yield Endpoint(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"), streams, received
        nursery.cancel_scope.cancel()


SWITCH = b"HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Up: 2\r\n\r\n"


async def until(received: bytearray, what: bytes) -> None:
    with trio.fail_after(PATIENCE):
        while what not in received:  # noqa: ASYNC110
            await trio.sleep(0.002)


@pytest.mark.rule("L58")
async def test_h109_not_one_byte_is_changed_and_none_is_lost_around_the_switch() -> None:
    async with raw_upstream(SWITCH + b"\x81\x05early") as (endpoint, streams, received):
        async with rig(endpoint) as served:
            client = await served.server.client()
            await client.send(UPGRADE.format("/upstream/m/ws").encode() + b"not even a frame")
            answer = bytearray()
            with trio.fail_after(PATIENCE):
                while not answer.endswith(b"\x81\x05early"):
                    answer += await client.stream.receive_some(65536)
            head = bytes(answer).partition(b"\r\n\r\n")[0].lower()
            assert head.startswith(b"http/1.1 101 ")
            assert b"\r\nconnection: upgrade" in head
            assert b"\r\nupgrade: websocket" in head
            assert b"\r\nx-up: 2" in head
            await until(received, b"not even a frame")
            assert b"\r\nconnection: Upgrade\r\n" in received
            assert b"\r\nx-mine: 1\r\n" in received
            assert f"\r\nsec-websocket-key: {KEY}\r\n".encode() in received
            await streams[0].send_all(b"last words")
            streams[0].socket.close()
            assert await client.rest() == b"last words"


async def test_a_client_that_leaves_is_seen_upstream_at_once() -> None:
    async with raw_upstream(SWITCH) as (endpoint, _, received), rig(endpoint) as served:
        client = await served.server.client()
        await client.send(UPGRADE.format("/upstream/m/ws").encode())
        await client.stream.receive_some(65536)
        assert served.fleet.held == 1, "H110: it holds the model"
        client.stream.socket.close()
        with takes(most=0.5):
            await until(received, b"<gone>")


@pytest.mark.rule("H109")
async def test_an_answer_other_than_101_is_an_answer() -> None:
    answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX-Up: 2\r\n\r\nno"
    async with raw_upstream(answer) as (endpoint, _, _), rig(endpoint) as served:
        client = await served.server.client()
        await client.send(UPGRADE.format("/upstream/m/ws").encode())
        reply = await client.reply()
        assert (reply.status, reply.body, reply["x-up"]) == (403, b"no", "2")
        assert reply["connection"] == "close"
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "lines",
    [
        ["Connection: Upgrade", "Upgrade: websocket"],
        ["Connection: keep-alive", "Connection: x, UPGRADE", "Upgrade: h3", "Upgrade: a, WebSocket"],
    ],
)
@pytest.mark.rule("L142")
async def test_h108_what_is_an_upgrade(lines: list[str]) -> None:
    async with raw_upstream(SWITCH) as (endpoint, _, _), rig(endpoint) as served:
        client = await served.server.client()
        await client.send("\r\n".join(["GET /upstream/m/ws HTTP/1.1", "Host: x", *lines, "", ""]).encode())
        assert (await client.stream.receive_some(65536)).startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize(
    "lines",
    [
        ["Connection: Upgrade", "Upgrade: h3"],
        ["Connection: close", "Upgrade: websocket"],
        ["Connection: Upgrade", "Upgrade: websocket", "Content-Length: 4"],
        ["Connection: Upgrade", "Upgrade: websocket", "Transfer-Encoding: chunked"],
    ],
    ids=["another protocol", "not named", "with a body", "with chunks"],
)
@pytest.mark.rule("L142")
async def test_h108_what_is_none(lines: list[str]) -> None:
    async with raw_upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as (endpoint, _, received):
        async with rig(endpoint) as served:
            client = await served.server.client()
            body = {"C": b"data", "T": b"4\r\ndata\r\n0\r\n\r\n"}.get(lines[-1][0], b"") if lines[2:] else b""
            head = "\r\n".join(["GET /upstream/m/ws HTTP/1.1", "Host: x", *lines, "", ""]).encode()
            await client.send(head + body)
            assert (await client.reply()).status == 200
    assert b"upgrade" not in bytes(received).lower()


@pytest.mark.rule("L144", "L67")
@pytest.mark.rule("L67", "L144")
async def test_h111_an_ignored_websocket_neither_loads_nor_holds_the_model() -> None:
    async with echoing() as up:
        config = Configuration(
            models={
                "m": ModelConfig(
                    proxy=up.endpoint.url, compat=attrs.evolve(ModelConfig().compat, ignore_websockets=True)
                )
            }
        )
        async with rig(up.endpoint, config=config) as served:
            client = await served.server.client()
            for state in (ProcState.STOPPED, ProcState.STARTING, ProcState.STOPPING):
                served.fleet.states["m"] = state
                client = await served.server.client()
                await client.send(UPGRADE.format("/upstream/m/ws").encode())
                reply = await client.reply()
                assert reply.status == 409
                assert b"model m is not loaded; ignored websocket requests cannot start it" in reply.body
            served.fleet.states["m"] = ProcState.READY
            peer, _ = await connected(served, "/upstream/m/ws")
            await peer.next()
            await peer.send(TextMessage("hello"))
            assert await peer.message() == "hello"
            assert served.fleet.leases == []
            assert served.measured.metrics.waits.histograms == {}


async def test_a_websocket_ends_when_its_model_is_stopped() -> None:
    async with raw_upstream(SWITCH) as (endpoint, _, _), rig(endpoint) as served:
        client: Client = await served.server.client()
        await client.send(UPGRADE.format("/upstream/m/ws").encode())
        await client.stream.receive_some(65536)
        served.pool.close_all()
        assert await client.rest() == b""
        with trio.fail_after(PATIENCE):
            while served.fleet.held:  # noqa: ASYNC110
                await trio.sleep(0.005)
        assert (await served.ask("GET", "/health")).status == 200


async def test_a_client_that_does_not_read_stops_the_upstream() -> None:
    async with raw_upstream(SWITCH) as (endpoint, streams, _), rig(endpoint) as served:
        client = await served.server.client()
        await client.send(UPGRADE.format("/upstream/m/ws").encode())
        await client.stream.receive_some(65536)
        sent = before = 0
        async with trio.open_nursery() as nursery:

            async def flood() -> None:
                nonlocal sent
                while True:
                    await streams[0].send_all(b"x" * 65536)
                    sent += 65536

            nursery.start_soon(flood)
            with trio.fail_after(PATIENCE):
                while sent == 0 or sent != before:
                    before = sent
                    await trio.sleep(0.2)
            assert sent < 15_000_000
            nursery.cancel_scope.cancel()
