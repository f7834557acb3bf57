"""A client that does not read its answer, or is not there any more, holds up nobody for ever."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
from pathlib import Path

import pytest
import trio
from http_wire import CHUNKED, JSON, PATIENCE, Client, Seen, chunk, request
from recorded_server import recorded


async def endlessly(seen: Seen, stream: trio.SocketStream) -> None:
    """Answer more than fits between a model and a client that does not read."""
    await stream.send_all(CHUNKED)
    while True:
        await stream.send_all(chunk(b"x" * 65536))


async def _until_stuck(held: Client) -> None:
    """Wait until the answer does not get on any more: what the kernel holds for its client stays the same."""
    waiting = -1
    with trio.fail_after(PATIENCE):
        while (now := _unread(held)) != waiting or not now:
            waiting = now
            await trio.sleep(0.1)


def _unread(held: Client) -> int:
    return int(struct.unpack("i", fcntl.ioctl(held.stream.socket.fileno(), termios.FIONREAD, b"\0" * 4))[0])


@pytest.mark.rule("H106")
@pytest.mark.parametrize("how", ["cancelled", "half closed"])
async def test_its_request_ends_all_the_same(how: str) -> None:
    async with recorded(endlessly) as served:
        client = await served.server.client()
        await client.send(request("POST", "/v1/completions", JSON, body=b'{"model":"m"}'))
        await _until_stuck(client)
        assert served.fleet.held == 1
        if how == "cancelled":
            entry = await served.entry()
            assert (await served.cancel(entry["id"])).status == 200
        else:
            client.stream.socket.shutdown(socket.SHUT_WR)
        with trio.fail_after(PATIENCE):
            while served.fleet.held:  # noqa: ASYNC110 - no event tells
                await trio.sleep(0.01)


async def test_clients_are_probed_by_tcp() -> None:
    """One that vanishes without a word is noticed, also when there is nothing to be sent to it."""
    async with recorded(endlessly) as served:
        client = await served.server.client()
        await client.ask("GET", "/health")
        ports = (served.server.port, client.stream.socket.getsockname()[1])
        with trio.fail_after(PATIENCE):  # at first it may be the one for what was not acknowledged yet
            while not (timers := _timers(ports))[0].startswith(_KEEP_ALIVE):  # noqa: ASYNC110
                await trio.sleep(0.01)
    ((_, _, ticks),) = (timer.partition(":") for timer in timers)
    assert int(ticks, 16) / os.sysconf("SC_CLK_TCK") <= 15


_KEEP_ALIVE = "02:"


def _timers(ports: tuple[int, int]) -> list[str]:
    """Of the connection between these two ports, which kind of timer runs, and for how long; proc(5)."""
    return [
        fields[5]
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if tuple(int(address.partition(":")[2], 16) for address in fields[1:3]) == ports
    ]
