"""Who reads slowly, client or model, costs this server at most 1 MiB; the rest stays where it came from."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import pytest
import trio
from http_wire import CHUNKED, JSON, PATIENCE, Client, Seen, chunk, request, rig, upstream

from swapcore import Endpoint

MIB = 1024 * 1024
CLIENTS = 8
BODY = b'{"model":"m","stream":true}'
PIECE = chunk(b"x" * 65_000)


@asynccontextmanager
async def at_most_1_mib_each(quiet: Callable[[], int]) -> AsyncGenerator[None]:
    """Within the block the clients begin; then wait until nothing moves, and look at what is held."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        moved = -1
        with trio.fail_after(4 * PATIENCE):
            while moved != (now := quiet()) or not now:
                moved = now
                await trio.sleep(0.3)  # that nothing moves is no event
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held < CLIENTS * MIB, f"{held / CLIENTS:.0f} bytes each"


def http1() -> bytes:
    return request("POST", "/v1/completions", JSON, body=BODY)


def http2() -> bytes:
    """A client that allows the server to send as much as it likes, and then does not read it."""
    config = h2.config.H2Configuration(header_encoding=None)
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    connection.increment_flow_control_window(2**30)
    headers = [(":method", "POST"), (":path", "/v1/completions"), (":scheme", "http"), (":authority", "x")]
    connection.send_headers(1, [*headers, ("content-type", "application/json")])
    connection.send_data(1, BODY, end_stream=True)
    connection.increment_flow_control_window(2**30, 1)
    return connection.data_to_send()


@pytest.mark.parametrize("begin", [http1, http2])
async def test_a_client_that_does_not_read_its_answer(begin: Callable[[], bytes]) -> None:
    sent = 0

    async def flood(seen: Seen, stream: trio.SocketStream) -> None:
        nonlocal sent
        await stream.send_all(CHUNKED)
        while True:
            await stream.send_all(PIECE)
            sent += 1

    async with upstream(flood) as up, rig(up.endpoint) as served:
        assert (await served.ask("GET", "/health")).status == 200
        clients: list[Client] = []
        async with at_most_1_mib_each(lambda: sent):
            for _ in range(CLIENTS):
                clients.append(await served.server.client())
                await clients[-1].send(begin())
        assert len(up.seen) == CLIENTS
        assert (await served.ask("GET", "/health")).status == 200


async def test_a_model_that_does_not_read_what_is_uploaded() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    sent = 0

    async def stand_still(stream: trio.SocketStream) -> None:
        await stream.receive_some(1000)
        await trio.sleep_forever()

    async def upload(client: Client) -> None:
        nonlocal sent
        while True:
            await client.stream.send_all(PIECE)
            sent += 1

    endpoint = Endpoint(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
    async with trio.open_nursery() as nursery, rig(endpoint) as served:
        nursery.start_soon(trio.serve_listeners, stand_still, listeners)
        assert (await served.ask("GET", "/health")).status == 200
        async with at_most_1_mib_each(lambda: sent):
            for _ in range(CLIENTS):
                client = await served.server.client()
                await client.send(request("POST", "/upstream/m/up", "Transfer-Encoding: chunked"))
                nursery.start_soon(upload, client)
        nursery.cancel_scope.cancel()
