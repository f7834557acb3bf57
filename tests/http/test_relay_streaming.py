"""Streams: nothing is held back, nothing piles up, and no end looks like another."""

from __future__ import annotations

import hashlib
import random
import socket
import struct

import pytest
import trio
from http_wire import CHUNKED, END, JSON, PATIENCE, CutOff, Seen, chunk, plain, request, rig, upstream

from swapcore import Endpoint

ASK = request("POST", "/v1/chat/completions", JSON, body=b'{"model":"m","stream":true}')


@pytest.mark.rule("L56")
@pytest.mark.rule("H99")
async def test_each_chunk_arrives_before_the_next_is_sent() -> None:
    arrived = [trio.Event() for _ in range(3)]

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED)
        for number, event in enumerate(arrived):
            await stream.send_all(chunk(b"data: %d\n\n" % number))
            with trio.fail_after(PATIENCE):
                await event.wait()
        await stream.send_all(END)

    async with upstream(answer) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(ASK)
        assert (await client.head("POST")).status == 200
        for number, event in enumerate(arrived):
            assert await client.piece() == b"data: %d\n\n" % number
            event.set()
        assert await client.piece() is None


@pytest.mark.rule("H99")
async def test_the_headers_arrive_before_the_body_begins() -> None:
    head_arrived = trio.Event()

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        with trio.fail_after(PATIENCE):
            await head_arrived.wait()
        await stream.send_all(b"ok")

    async with upstream(answer) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(ASK)
        assert (await client.head("POST"))["content-length"] == "2"
        head_arrived.set()
        assert await client.piece() == b"ok"


async def test_a_long_stream_in_pieces_of_any_size_arrives_byte_for_byte() -> None:
    dice = random.Random(7)
    pieces = [dice.randbytes(dice.choice((1, 7, 1000, 70_000))) for _ in range(200)]

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        wire = CHUNKED + b"".join(chunk(piece) for piece in pieces) + END
        position = 0
        while position < len(wire):  # cut without regard to chunks
            size = dice.choice((1, 3, 500, 65_536))
            await stream.send_all(wire[position : position + size])
            position += size

    async with upstream(answer) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(ASK)
        reply = await client.reply("POST")
    assert hashlib.sha256(reply.body).digest() == hashlib.sha256(b"".join(pieces)).digest()


async def test_a_client_that_does_not_read_stops_the_upstream() -> None:
    sent = 0

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        nonlocal sent
        await stream.send_all(CHUNKED)
        while True:
            await stream.send_all(chunk(b"x" * 65_000))
            sent += 65_000

    async with upstream(answer) as up, rig(up.endpoint) as served:
        clients = [await served.server.client() for _ in range(4)]
        for client in clients:
            await client.send(ASK)
            await client.head("POST")
        # It is quiet once every buffer on the way is full; the kernel's are the large ones.
        before = -1
        with trio.fail_after(PATIENCE):
            while sent != before:
                before = sent
                await trio.sleep(0.2)
        assert sent < 4 * 12_000_000
        # And it goes on as soon as somebody reads.
        with trio.fail_after(PATIENCE):
            while sent == before:
                assert await clients[0].piece()


@pytest.mark.parametrize("when", ["before the answer", "reading", "not reading"])
@pytest.mark.rule("L60")
@pytest.mark.rule("L169")
async def test_h102_a_client_that_leaves_is_seen_upstream_at_once(when: str) -> None:
    asked, gone = trio.Event(), trio.Event()

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        asked.set()
        try:
            if when != "before the answer":
                await stream.send_all(CHUNKED + chunk(b"data: 1\n\n"))
            while when == "not reading":
                await stream.send_all(chunk(b"x" * 65_000))
            await stream.receive_some(1)
        finally:
            gone.set()

    delays: list[float] = []
    async with upstream(answer) as up, rig(up.endpoint) as served:
        for _ in range(3):  # the best of a few: what is measured is us, not how busy the machine is
            asked, gone = trio.Event(), trio.Event()
            client = await served.server.client()
            await client.send(ASK)
            with trio.fail_after(PATIENCE):
                await asked.wait()
            if when != "before the answer":
                await client.head("POST")
                await client.piece()
            if when == "not reading":
                await trio.sleep(0.2)  # let the buffers fill
            client.stream.socket.close()
            started = trio.current_time()
            with trio.fail_after(PATIENCE):
                await gone.wait()
            delays.append(trio.current_time() - started)
        with trio.fail_after(PATIENCE):
            while served.fleet.held:  # noqa: ASYNC110
                await trio.sleep(0.001)
        assert served.pool.statistics().busy == 0
    assert min(delays) < 0.1


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize(
    "begin",
    [CHUNKED + chunk(b"data: 1\n\n"), b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\ndata: 1\n\n"],
    ids=["chunked", "length"],
)
@pytest.mark.rule("L57")
@pytest.mark.rule("H103", "H104", "H223")
async def test_g45_an_upstream_that_dies_in_mid_stream_never_looks_finished(
    begin: bytes, reset: bool
) -> None:
    got_first = trio.Event()

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(begin)
        with trio.fail_after(PATIENCE):
            await got_first.wait()
        if reset:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()

    async with upstream(answer) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(ASK)
        await client.head("POST")
        assert await client.piece() == b"data: 1\n\n"
        got_first.set()
        with pytest.raises(CutOff):
            await client.piece()
        assert (await served.ask("GET", "/health")).status == 200


async def test_garbage_in_mid_stream_never_looks_finished() -> None:
    got_first = trio.Event()

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED + chunk(b"data: 1\n\n"))
        with trio.fail_after(PATIENCE):
            await got_first.wait()
        await stream.send_all(b"zz\r\nnonsense")

    async with upstream(answer) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(ASK)
        await client.head("POST")
        assert await client.piece() == b"data: 1\n\n"
        got_first.set()
        with pytest.raises(CutOff):
            await client.piece()


async def test_two_hundred_streams_at_once() -> None:
    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED)
        for number in range(5):
            await stream.send_all(chunk(b"%b %d\n" % (seen.body, number)))
            await trio.sleep(0.01)
        await stream.send_all(END)

    async with upstream(answer) as up, rig(up.endpoint) as served:
        done = 0

        async def stream(number: int) -> None:
            nonlocal done
            client = await served.server.client()
            body = b'{"model":"m","n":%d}' % number
            reply = await client.ask("POST", "/v1/completions", JSON, body=body)
            assert reply.body == b"".join(b"%b %d\n" % (body, each) for each in range(5))
            done += 1

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                for number in range(200):
                    nursery.start_soon(stream, number)
        assert done == 200
        assert served.fleet.held == 0
        assert served.pool.statistics().busy == 0
        assert served.pool.statistics().idle <= served.pool.max_idle


async def test_a_large_upload_may_be_answered_before_it_was_read() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    async def refuse(stream: trio.SocketStream) -> None:
        await stream.receive_some(1000)
        await stream.send_all(plain(b"too much", status="413 Payload Too Large"))
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery, rig(Endpoint(f"http://127.0.0.1:{port}")) as served:
        nursery.start_soon(trio.serve_listeners, refuse, listeners)
        body = b'{"model":"m","x":"' + b"A" * 20_000_000 + b'"}'
        reply = await served.chat(body)
        assert (reply.status, reply.body) == (413, b"too much")
        assert served.pool.statistics().idle == 0, "half of a request is still in it"
        nursery.cancel_scope.cancel()
