"""Loads on one of the servers of `load_servers`, and what they cost it."""

from __future__ import annotations

import asyncio
import time

import attrs
from load_servers import Running, request
from model_server import ANSWER

_UNMEASURED = 0.5
"""Seconds at the beginning, usually."""


@attrs.frozen
class Measured:
    rate: float
    """Answers, or events, per second."""
    cpu: float
    """Seconds of the server's CPU for each."""


def answers(
    server: Running, seconds: float, *, connections: int = 16, unmeasured: float = _UNMEASURED
) -> Measured:
    """Each connection asks anew once it has its answer."""
    return asyncio.run(_load(server, request("answer"), ANSWER, connections, seconds, unmeasured))


def streams(server: Running, seconds: float, *, count: int, pause: float = 0.0) -> Measured:
    """That many event streams, with a pause, in seconds, between the events of each."""
    return asyncio.run(_load(server, request("stream", pause=pause), b"data: ", count, seconds, _UNMEASURED))


class Client(asyncio.Protocol):
    """Counts answers, and asks again after each, or the events of one that has no end."""

    def __init__(self, request: bytes, marker: bytes) -> None:
        self.request, self.marker = request, marker
        self.count, self.tail = 0, b""
        self.is_lost = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True

    def leave(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        data = self.tail + data
        found = data.count(self.marker)
        self.tail = data[-(len(self.marker) - 1) :] if not data.endswith(self.marker) else b""
        self.count += found
        if found and self.marker == ANSWER and self.transport is not None:
            self.transport.write(self.request)


async def clients(port: int, request: bytes, marker: bytes, count: int) -> list[Client]:
    """Connect that many; whoever calls this lets them leave."""
    loop = asyncio.get_running_loop()
    return [
        (await loop.create_connection(lambda: Client(request, marker), "127.0.0.1", port))[1]
        for _ in range(count)
    ]


async def _load(
    server: Running, request: bytes, marker: bytes, count: int, seconds: float, unmeasured: float
) -> Measured:
    asking = await clients(server.port, request, marker, count)
    await asyncio.sleep(unmeasured)
    before, cpu, started = sum(each.count for each in asking), server.cpu_seconds(), time.monotonic()
    await asyncio.sleep(seconds)
    found = sum(each.count for each in asking) - before
    rate, cost = found / (time.monotonic() - started), (server.cpu_seconds() - cpu) / max(found, 1)
    for each in asking:
        each.leave()
    return Measured(rate, cost)
