"""Many clients at once, and more of them than there may be."""

from __future__ import annotations

import resource

import pytest
import trio
from http_wire import CHUNKED, END, JSON, PATIENCE, Client, Seen, always, chunk, plain, request, rig, upstream

from swapcli._descriptors import raise_descriptor_limit
from swapcli.http import ServerLimits

BODY = b'{"model":"m"}'
IDLE = 1000
STREAMS = 200


def test_as_many_descriptors_as_the_system_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        limit = raise_descriptor_limit()
        assert limit == min(before[1], 65536)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limit, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_thousand_idle_clients_and_two_hundred_streams() -> None:
    raise_descriptor_limit()

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED)
        for number in range(3):
            await stream.send_all(chunk(b"data: %d\n\n" % number))
            await trio.sleep(0.05)
        await stream.send_all(END)

    async with upstream(answer) as up, rig(up.endpoint) as served:
        idle: list[Client] = []
        done = 0

        async def connect() -> None:
            client = await served.server.client()
            assert (await client.ask("GET", "/health")).status == 200
            idle.append(client)

        async def stream() -> None:
            nonlocal done
            client = await served.server.client()
            reply = await client.ask("POST", "/v1/completions", JSON, body=BODY)
            assert reply.body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
            done += 1

        with trio.fail_after(120):
            for _ in range(IDLE // 50):
                async with trio.open_nursery() as nursery:
                    for _ in range(50):
                        nursery.start_soon(connect)
            async with trio.open_nursery() as nursery:
                for _ in range(STREAMS):
                    nursery.start_soon(stream)
            assert done == STREAMS
            for client in idle[::10]:
                assert (await client.ask("GET", "/health")).status == 200


async def test_one_client_too_many_ends_the_one_that_was_idle_for_longest() -> None:
    async with rig(limits=ServerLimits(connections=3)) as served:
        clients = [await served.server.client() for _ in range(3)]
        for client in (clients[1], clients[2], clients[0]):
            await client.ask("GET", "/health")
        late = await served.server.client()
        assert (await late.ask("GET", "/health")).status == 200
        assert await clients[1].rest() == b""
        assert (await clients[2].ask("GET", "/health")).status == 200
        assert (await clients[0].ask("GET", "/health")).status == 200


async def test_one_client_too_many_while_all_are_busy_is_told_so() -> None:
    release = trio.Event()

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await release.wait()
        await stream.send_all(plain(b"x"))

    async with upstream(answer) as up, rig(up.endpoint, limits=ServerLimits(connections=2)) as served:
        busy = [await served.server.client() for _ in range(2)]
        for client in busy:
            await client.send(request("POST", "/v1/completions", JSON, body=BODY))
        with trio.fail_after(PATIENCE):
            while len(up.seen) < 2:  # noqa: ASYNC110
                await trio.sleep(0.005)
        late = await served.server.client()
        reply = await late.ask("GET", "/health")
        assert (reply.status, reply["retry-after"], reply["connection"]) == (503, "1", "close")
        assert b'"code":"too_many_connections"' in reply.body
        release.set()
        for client in busy:
            assert (await client.reply("POST")).body == b"x"
        with trio.fail_after(PATIENCE):
            while (await served.ask("GET", "/health")).status != 200:
                pass


async def drip(stream: trio.SocketStream) -> None:
    await stream.send_all(b"GET /health HTTP/1.1\r\n")
    while True:
        await stream.send_all(b"X-A: b\r\n")
        await trio.sleep(0.01)


async def test_a_head_that_drips_is_given_up() -> None:
    async with rig(limits=ServerLimits(keep_alive=0.3)) as served:
        client = await served.server.client()
        with trio.fail_after(PATIENCE), pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
            await drip(client.stream)


async def test_a_body_that_is_longer_than_configured_is_a_413_that_says_how_long_it_may_be() -> None:
    async with (
        upstream(always(plain(b"x"))) as up,
        rig(up.endpoint, limits=ServerLimits(model_body_size=100)) as served,
    ):
        reply = await served.chat(b'{"model":"m","x":"' + b"A" * 100 + b'"}')
    assert reply.status == 413
    assert b"larger than 100 bytes" in reply.body
    assert up.seen == []
