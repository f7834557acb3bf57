"""Mutated requests on raw sockets: the server goes on serving, and nothing of them stays behind.

SWAPCLI_FUZZ_INPUTS=100000 pytest tests/http/test_wire_fuzz.py
"""

from __future__ import annotations

import logging
import os
import random
import socket
import struct
import sys

import h2.config
import h2.connection
import pytest
import trio
import trio.lowlevel
from http_wire import CHUNKED, END, JSON, Answer, Rig, Seen, chunk, plain, request, rig, upstream

from swapcli.http import ServerLimits

INPUTS = int(os.environ.get("SWAPCLI_FUZZ_INPUTS", "2000"))
AT_ONCE = 50
GROWTH = 24 * 1024 * 1024
"""Bytes that the process may grow by, once it is warm; the allocator and the caches need some."""

BODY = b'{"model":"m","stream":true}'
WEBSOCKET = (
    b"GET /upstream/m/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x05hello"
)


def http2_requests() -> bytes:
    client = h2.connection.H2Connection(h2.config.H2Configuration())
    client.initiate_connection()
    for number in (1, 3):
        head = [(":method", "POST"), (":path", "/v1/completions"), (":scheme", "http"), (":authority", "x")]
        client.send_headers(number, [*head, ("content-type", "application/json")])
        client.send_data(number, BODY, end_stream=True)
    client.reset_stream(3)
    return client.data_to_send()


SEEDS = [
    request("GET", "/v1/models"),
    request("HEAD", "/health"),
    request("OPTIONS", "*"),
    request("GET", "/v1//models?a=%20b"),
    request("GET", "http://other.example/running"),
    request("POST", "/v1/chat/completions", JSON, "Expect: 100-continue", body=BODY),
    request("POST", "/v1/chat/completions", JSON, body=BODY) + request("GET", "/props?model=m"),
    request("POST", "/v1/audio/speech", "Content-Type: application/x-www-form-urlencoded", body=b"model=m"),
    request("POST", "/upstream/m/any?x=1", body=b"streamed"),
    request("POST", "/v1/completions", "Transfer-Encoding: chunked", JSON) + chunk(BODY) + END,
    request("POST", "/nope", "Transfer-Encoding: chunked") + chunk(b"x" * 3000) + b"0\r\nX: y\r\n\r\n",
    request("POST", "/v1/completions", JSON, body=BODY).replace(b"HTTP/1.1", b"HTTP/1.0"),
    request("GET", "/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    WEBSOCKET,
    http2_requests(),
]
TOKENS = [
    b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b"%", b"/", b"//", b"..", b"?", b"\xff", b"\r\n\r\n",
    b"-1", b"99999999999999999999", b"0\r\n\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Expect: 100-continue\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1", b"HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"A" * 5000,
]  # fmt: skip


def mutated(dice: random.Random) -> bytes:
    data = bytearray(dice.choice(SEEDS))
    for _ in range(dice.choice((0, 1, 1, 2, 3, 8))):
        at, end = sorted((dice.randrange(len(data) + 1), dice.randrange(len(data) + 1)))
        end = min(end, at + dice.choice((1, 4, 40)))
        match dice.randrange(6):
            case 0:
                data[at:at] = dice.choice(TOKENS)
            case 1:
                data[at:end] = dice.choice(TOKENS)
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end]
            case 4 if at < len(data):
                data[at] ^= 1 << dice.randrange(8)
            case _:
                data += dice.choice(SEEDS)
    return bytes(data)


async def attack(served: Rig, data: bytes, dice: random.Random) -> None:
    """Send ``data``, in one piece or several, and leave in one of the ways in which clients leave."""
    stream = await trio.open_tcp_stream("127.0.0.1", served.server.port)
    try:
        with trio.move_on_after(dice.choice((0.0, 0.01, 0.05))):
            cut = dice.randrange(len(data) + 1)
            await stream.send_all(data[:cut])
            await trio.lowlevel.checkpoint()
            await stream.send_all(data[cut:])
            if dice.random() < 0.2:
                await stream.send_eof()
            while await stream.receive_some(65536):
                pass
    except trio.BrokenResourceError:
        pass
    finally:
        if dice.random() < 0.3:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()


async def answer(seen: Seen, stream: trio.SocketStream) -> None:
    if b'"stream"' in seen.body:
        await stream.send_all(CHUNKED + chunk(b"data: 1\n\n") + END)
    else:
        await stream.send_all(plain(b"fine"))


def peak_memory() -> int:
    """Return the most bytes that this process has ever had in memory."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


async def test_mutated_requests(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL + 1)
    script: Answer = answer
    seed = random.randrange(2**32)
    print("seed", seed)
    # Cut off requests are given up soon, so that they need not be waited for.
    limits = ServerLimits(keep_alive=1.0, body_silence=1.0, cut=1.0)
    async with upstream(script) as up, rig(up.endpoint, limits=limits) as served:
        await served.chat()
        tasks = trio.lowlevel.current_statistics().tasks_living

        async def worker(number: int) -> None:
            dice = random.Random(seed + number)
            for _ in range(INPUTS // AT_ONCE // 2):
                await attack(served, mutated(dice), dice)

        async def settle() -> None:
            """The server still serves, and has nothing left of whoever has gone."""
            with trio.fail_after(60):
                assert (await served.ask("GET", "/health")).body == b"OK"
                assert (await served.chat()).body == b"fine"
                served.server.disconnect()
                while (  # noqa: ASYNC110
                    trio.lowlevel.current_statistics().tasks_living > tasks + up.open_connections
                    or served.fleet.held
                    or served.pool.statistics().busy
                ):
                    await trio.sleep(0.02)

        sizes: list[int] = []
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for number in range(AT_ONCE):
                    nursery.start_soon(worker, number + len(sizes) * AT_ONCE)
            await settle()
            sizes.append(peak_memory())
        assert sizes[1] - sizes[0] < GROWTH
