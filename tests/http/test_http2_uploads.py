"""Bodies over HTTP/2: each request has a window of its own, and none holds up the rest of its connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256

import attrs
import h2.config
import h2.connection
import h2.events
import pytest
import trio
from http_wire import PATIENCE, Answer, Rig, Seen, always, plain, rig, upstream

from swapcore import Endpoint


@attrs.define(eq=False)
class Http2:
    """A client that reads whatever comes, all the time."""

    stream: trio.SocketStream
    connection: h2.connection.H2Connection = attrs.field(init=False)
    answers: dict[int, bytes] = attrs.field(factory=dict[int, bytes], init=False)
    statuses: dict[int, int] = attrs.field(factory=dict[int, int], init=False)
    ended: set[int] = attrs.field(factory=set[int], init=False)
    sent: int = attrs.field(default=0, init=False)
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    _sending: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.connection.initiate_connection()

    async def read(self) -> None:
        with suppress(trio.ClosedResourceError):  # the test is over
            await self._read()

    async def _read(self) -> None:
        while data := await self.stream.receive_some(65536):
            for event in self.connection.receive_data(data):
                match event:
                    case h2.events.DataReceived(stream_id=id, data=piece):
                        self.answers[id] = self.answers.get(id, b"") + (piece or b"")
                    case h2.events.ResponseReceived(stream_id=id, headers=headers):
                        self.statuses[id] = int(dict(headers)[b":status"])
                    case h2.events.StreamEnded(stream_id=id):
                        self.ended.add(id)
                    case _:
                        pass
            await self.flush()
            self._news.set()
            self._news = trio.Event()

    async def flush(self) -> None:
        async with self._sending:
            await self.stream.send_all(self.connection.data_to_send())

    async def begin(self, id: int, method: str, path: str, *, end: bool) -> None:
        head = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "two.example")]
        self.connection.send_headers(id, head, end_stream=end)
        await self.flush()

    async def upload(self, id: int, body: bytes) -> None:
        """Send as much as the server allows, then what it allows next, to the end."""
        left = memoryview(body)
        while left:
            allowed = self.connection.local_flow_control_window(id)
            if not allowed:
                await self._news.wait()
                continue
            piece, left = left[: min(allowed, 16384)], left[min(allowed, 16384) :]
            self.connection.send_data(id, bytes(piece), end_stream=not left)
            self.sent += len(piece)
            await self.flush()

    async def until_ended(self, id: int) -> bytes:
        with trio.fail_after(PATIENCE):
            while id not in self.ended:
                await self._news.wait()
        return self.answers.get(id, b"")

    async def until_stuck(self) -> None:
        """Wait until the server allows no more."""
        with trio.fail_after(PATIENCE):
            while self.connection.local_flow_control_window(1):  # noqa: ASYNC110 - it closes by our sending
                await trio.sleep(0.01)
        await trio.sleep(0.1)  # a window that opens once more would show


@asynccontextmanager
async def two_models(answer: Answer) -> AsyncGenerator[tuple[Http2, Rig]]:
    """Serve ``m``, which never reads what it is sent, and ``m2``, which answers, to one client."""
    async with trio.open_nursery() as nursery, upstream(answer) as reading:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, _hear_nothing, listeners)
        deaf = Endpoint(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
        async with rig(deaf, reading.endpoint) as served:
            client = Http2((await served.server.client()).stream)
            nursery.start_soon(client.read)
            yield client, served
            nursery.cancel_scope.cancel()


async def _hear_nothing(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def _tell_digest(seen: Seen, stream: trio.SocketStream) -> None:
    await stream.send_all(plain(sha256(unchunked(seen.body)).hexdigest().encode()))


async def test_a_body_that_nobody_reads_does_not_hold_up_other_requests() -> None:
    async with two_models(always(plain(b"fine"))) as (client, _), trio.open_nursery() as nursery:
        await client.begin(1, "POST", "/upstream/m/x", end=False)
        nursery.start_soon(client.upload, 1, bytes(64 * 1024 * 1024))
        await client.until_stuck()
        await client.begin(3, "GET", "/upstream/m2/x", end=True)
        assert await client.until_ended(3) == b"fine"
        await client.begin(5, "POST", "/upstream/m2/x", end=False)
        nursery.start_soon(client.upload, 5, bytes(200_000))
        assert await client.until_ended(5) == b"fine", "the window of the connection is not used up, either"
        nursery.cancel_scope.cancel()


async def test_the_client_of_a_body_that_nobody_reads_is_heard_when_it_leaves() -> None:
    async with two_models(always(plain(b"fine"))) as (client, served), trio.open_nursery() as nursery:
        await client.begin(1, "POST", "/upstream/m/x", end=False)
        nursery.start_soon(client.upload, 1, bytes(64 * 1024 * 1024))
        await client.until_stuck()
        with trio.fail_after(PATIENCE):
            while served.fleet.held != 1:  # noqa: ASYNC110 - no event tells
                await trio.sleep(0.005)
        client.connection.reset_stream(1)
        await client.flush()
        with trio.fail_after(PATIENCE):
            while served.fleet.held:  # noqa: ASYNC110 - no event tells
                await trio.sleep(0.005)
        nursery.cancel_scope.cancel()


async def test_bodies_of_many_requests_arrive_whole() -> None:
    bodies = {id: bytes([id]) * (300_000 * id) for id in (1, 3, 5, 7)}
    async with two_models(_tell_digest) as (client, _), trio.open_nursery() as nursery:
        for id in bodies:
            await client.begin(id, "POST", "/upstream/m2/x", end=False)
        for id, body in bodies.items():
            nursery.start_soon(client.upload, id, body)
        for id, body in bodies.items():
            assert await client.until_ended(id) == sha256(body).hexdigest().encode()


async def test_a_body_in_small_pieces_is_no_pile_of_messages() -> None:
    async with two_models(always(plain(b"fine"))) as (client, _), trio.open_nursery() as nursery:
        await client.begin(1, "POST", "/upstream/m/x", end=False)
        nursery.start_soon(client.upload, 1, bytes(64 * 1024 * 1024))
        await client.until_stuck()  # from here on, its stream has room for nothing
        with trio.fail_after(PATIENCE):
            for _ in range(300):
                client.connection.send_data(1, b"")  # takes nothing of the window
                await client.flush()
        await client.begin(3, "GET", "/upstream/m2/x", end=True)
        assert await client.until_ended(3) == b"fine"
        nursery.cancel_scope.cancel()


def unchunked(body: bytes) -> bytes:
    """Return what a body is without the framing of its chunks."""
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        whole, body = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return whole


@pytest.mark.parametrize("target", ["/upstream/m2/x?a HTTP/1.1", "/upstream/m2/x?a\x01b", "/upstream/m2/x y"])
async def test_what_is_no_request_line_in_http1_is_refused(target: str) -> None:
    """Over HTTP/2 a path may hold what would end it in HTTP/1.1."""
    async with two_models(always(plain(b"fine"))) as (client, served):
        client.connection.config.validate_outbound_headers = False
        await client.begin(1, "GET", target, end=True)
        answer = await client.until_ended(1)
        assert client.statuses[1] == 400, answer
        assert served.pool.statistics().idle == 0, "nobody was asked"
