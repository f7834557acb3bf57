"""Resident memory of ``swapcli serve`` while many clients are there, and while some do not read."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from pathlib import Path

from load_servers import one_model, request
from relay_load import Client, clients
from served import Served, serving
from table import Row

from swapcli._descriptors import raise_descriptor_limit

STREAMS = 256
SLOW_READERS = 32
CROWD = (1000, 200)
"""Clients that keep their connections and ask for nothing, and streams beside them."""
_HEALTH = b"GET /health HTTP/1.1\r\nHost: bench\r\n\r\n"
_MARKER = b"data: "
_STREAM = request("stream", pause=0.1)


def measure() -> list[Row]:
    raise_descriptor_limit()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(one_model())
        # Each in a server of its own: memory that was used once is not always given back.
        with serving(config) as served:
            of_streams = asyncio.run(_streams(served))
        with serving(config) as served:
            of_slow_reader = _slow_readers(served)
        with serving(config) as served:
            of_crowd, failed = asyncio.run(_crowd(served))
    idle, streams = CROWD
    crowd = f"{idle:,} idle clients and {streams} streams"
    return [
        Row(what=f"resident memory, {STREAMS} streams", value=of_streams, unit="MB", at_most=130),
        Row(what="memory a stream that is not read", value=of_slow_reader, unit="MB", at_most=1),
        Row(what=f"resident memory, {crowd}", value=of_crowd, unit="MB"),
        Row(what=f"{crowd}: failed", value=failed, at_most=0),
    ]


async def _streams(served: Served) -> float:
    readers = await clients(served.port, _STREAM, _MARKER, STREAMS)
    await _all_have_events(readers)
    await asyncio.sleep(2)
    assert not any(reader.is_lost for reader in readers)
    megabytes = served.resident_megabytes
    for reader in readers:
        reader.leave()
    return megabytes


def _slow_readers(served: Served) -> float:
    """Growth for each of some clients that never read, of streams that never pause."""
    served.request("POST", "/v1/completions", {"model": "m"})
    before = served.resident_megabytes
    connections = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(SLOW_READERS)]
    for connection in connections:
        connection.sendall(request("stream"))
    most, unchanged_since = 0.0, time.monotonic()
    while time.monotonic() < unchanged_since + 2:  # until all buffers are full
        if (now := served.resident_megabytes) > most:
            most, unchanged_since = now, time.monotonic()
        time.sleep(0.05)
    for connection in connections:
        connection.close()
    return (most - before) / SLOW_READERS


async def _crowd(served: Served) -> tuple[float, int]:
    """Resident memory, and how many clients were lost, or not answered."""
    idle, streams = CROWD
    waiting = await clients(served.port, _HEALTH, b" 200 ", idle)
    await _all_have_events(waiting)
    readers = await clients(served.port, _STREAM, _MARKER, streams)
    await _all_have_events(readers)
    megabytes = served.resident_megabytes
    for client in waiting:
        assert client.transport is not None
        client.transport.write(_HEALTH)
    await _all_have_events(waiting, at_least=2)
    failed = sum(client.is_lost or client.count < 2 for client in waiting)
    failed += sum(reader.is_lost or not reader.count for reader in readers)
    for client in (*waiting, *readers):
        client.leave()
    return megabytes, failed


async def _all_have_events(clients: list[Client], *, at_least: int = 1) -> None:
    """Wait for them, for a minute at most."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and any(client.count < at_least for client in clients):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    assert not any(client.count < at_least for client in clients)
