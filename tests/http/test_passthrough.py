"""``/upstream/…`` and ``/comfyui/…``: whose path it is, what of it is left; all else is as it was."""

from __future__ import annotations

import json

import attrs
import pytest
import trio
from http_wire import CHUNKED, END, JSON, PATIENCE, Seen, always, chunk, plain, request, rig, upstream

from swapcli.config import Configuration, ModelConfig, PeerConfig
from swapcli.http import ServerLimits
from swapcore import ProcState


def models(*names: str) -> Configuration:
    return Configuration(models={name: ModelConfig() for name in names})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_h69_the_bare_path_leads_to_the_list_without_a_key(method: str) -> None:
    config = attrs.evolve(models("m"), api_keys=("k",))
    async with rig(config=config) as served:
        reply = await served.ask(method, "/upstream")
        assert (reply.status, reply["location"]) == (302, "/ui/models")
        assert (await served.ask("GET", "/upstream/m/x")).status == 401


async def test_h15_h69_without_a_name() -> None:
    async with rig() as served:
        reply = await served.ask("POST", "/upstream?a=b", body=b"x")
        assert (reply.status, reply["location"]) == (307, "/upstream/")
        reply = await served.ask("POST", "/upstream/", body=b"x")
        assert reply.status == 404
        assert b'"message":"model not found"' in reply.body


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "BREW"])
@pytest.mark.rule("L146")
async def test_h70_any_method(method: str) -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        assert (await served.ask(method, "/upstream/m/y", body=b"z")).body == b"x"
    assert up.seen[0].line == f"{method} /y HTTP/1.1"
    assert up.seen[0].body == b"z"


@pytest.mark.parametrize(
    ("path", "model", "left"),
    [
        ("/upstream/org/m2/x", "org/m2", "/x"),
        ("/upstream/org%2Fm2/x", "org/m2", "/x"),
        ("/upstream/org%2fm2%2Fx", "org/m2", "/x"),
        ("/upstream/org/zzz", "org", "/zzz"),
        ("/upstream/org/m2/", "org/m2", "/"),
        ("/upstream/%6Frg/a%2Fb/%20c;%252F?d=%zz&e;f", "org", "/a%2Fb/%20c;%252F?d=%zz&e;f"),
        ("/upstream/org/a%2F..%2Fb", "org", "/a%2F..%2Fb"),
        ("/upstream/short/m2", "org", "/m2"),
    ],
)
@pytest.mark.rule("L146")
async def test_h71_h73_the_longest_name_and_what_is_left_of_the_path(
    path: str, model: str, left: str
) -> None:
    config = attrs.evolve(models("org", "org/m2"), aliases={"short": "org"})
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint, up.endpoint, config=config) as served:
        assert (await served.ask("GET", path)).body == b"x"
        assert served.fleet.leases == [model]
    assert up.seen[0].line == f"GET {left} HTTP/1.1"


async def test_h71_no_such_model() -> None:
    async with rig(config=models("org/m2")) as served:
        for path in ("/upstream/org", "/upstream/org/x", "/upstream/nope/m2"):
            reply = await served.ask("GET", path)
            assert reply.status == 404
            assert b"model not found" in reply.body


@pytest.mark.parametrize(("method", "status"), [("GET", 301), ("HEAD", 301), ("POST", 308)])
@pytest.mark.rule("L146")
async def test_h72_a_name_without_a_path_is_a_folder(method: str, status: int) -> None:
    async with rig(config=models("org/a b")) as served:
        reply = await served.ask(method, "/upstream/org%2Fa%20b?x=%20y")
        assert (reply.status, reply["location"]) == (status, "/upstream/org/a%20b/?x=%20y")
        assert served.fleet.leases == []
    expected = b'<a href="/upstream/org/a%20b/?x=%20y">Moved Permanently</a>.\n\n'
    assert reply.body == (expected if method == "GET" else b"")


async def test_h46_a_pin_is_the_beginning_of_the_path() -> None:
    async with upstream(always(plain(b"x"))) as up:
        loaded = {"p": {"old": "m", "gone": ""}}
        async with rig(up.endpoint, config=with_profile(loaded["p"])) as served:
            await served.ask("PUT", "/api/profiles/active", JSON, body=b'{"name":"p"}')
            assert (await served.ask("GET", "/upstream/old/a%2Fb")).body == b"x"
            assert (await served.ask("GET", "/upstream/gone/a")).status == 404
    assert up.seen[0].line == "GET /a%2Fb HTTP/1.1"


async def test_h74_a_body_arrives_while_it_is_sent() -> None:
    got, received = trio.Event(), bytearray()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def converse(stream: trio.SocketStream) -> None:
        while not received.endswith(END):
            received.extend(await stream.receive_some(65536))
            if b"first" in received:
                got.set()
        await stream.send_all(plain(b"done"))

    from swapcore import Endpoint

    endpoint = Endpoint(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
    async with trio.open_nursery() as nursery, rig(endpoint) as served:
        nursery.start_soon(trio.serve_listeners, converse, listeners)
        client = await served.server.client()
        await client.send(request("POST", "/upstream/m/up", "Transfer-Encoding: chunked") + chunk(b"first"))
        with trio.fail_after(PATIENCE):
            await got.wait()
        await client.send(chunk(b"second") + END)
        assert (await client.reply("POST")).body == b"done"
        assert (await client.ask("GET", "/health")).status == 200, "the connection goes on"
        nursery.cancel_scope.cancel()
    assert received.endswith(chunk(b"first") + chunk(b"second") + END)
    assert b"content-length" not in received


async def test_h74_a_long_body_with_a_length_keeps_it_and_costs_no_memory() -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        body = b"A" * 3_000_000
        reply = await client.ask("POST", "/upstream/m/up", body=body)
        assert (reply.status, reply.body) == (200, b"x")
    assert up.seen[0]["content-length"] == "3000000"
    assert up.seen[0].body == body


async def test_an_upload_is_as_fast_as_the_upstream_reads() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some(1000)
        await trio.sleep_forever()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    from swapcore import Endpoint

    endpoint = Endpoint(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")
    async with trio.open_nursery() as nursery, rig(endpoint) as served:
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        client = await served.server.client()
        await client.send(request("POST", "/upstream/m/up", "Content-Length: 1000000000"))
        sent = before = 0

        async def upload() -> None:
            nonlocal sent
            while True:
                await client.stream.send_all(b"A" * 65536)
                sent += 65536

        nursery.start_soon(upload)
        with trio.fail_after(PATIENCE):
            while sent == 0 or sent != before:
                before = sent
                await trio.sleep(0.2)
        assert sent < 30_000_000, "the buffers of the kernel, and 1 MiB of ours"
        nursery.cancel_scope.cancel()


async def test_a_streamed_body_that_stops_arriving_is_a_408() -> None:
    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        raise AssertionError("half a request")

    async with upstream(answer) as up, rig(up.endpoint, limits=ServerLimits(body_silence=0.2)) as served:
        client = await served.server.client()
        await client.send(request("POST", "/upstream/m/up", "Content-Length: 100000") + b"half")
        assert (await client.reply("POST")).status == 408


async def test_h75_a_peer_gets_its_own_name_for_the_model() -> None:
    async with upstream(always(plain(b"x"))) as up:
        peer = PeerConfig(proxy=up.endpoint.url, models=("real",))
        async with rig(config=with_peer(peer)) as served:
            for model in ("p/real", "other"):
                body = json.dumps({"n": 1, "model": model}).encode()
                await served.ask("POST", "/upstream/p/real/v1/x", JSON, body=body)
    assert [json.loads(seen.body)["model"] for seen in up.seen] == ["real", "other"]
    assert [seen.line for seen in up.seen] == ["POST /v1/x HTTP/1.1"] * 2


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.rule("L145")
async def test_h78_files_do_not_load_a_model(method: str) -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        reply = await served.ask(method, "/upstream/m/assets/app%2Ejs?v=1")
        assert reply.status == 409
        assert b"model m is not loaded; path matches upstream.ignorePaths" in reply.body
        assert served.fleet.leases == []
        served.fleet.states["m"] = ProcState.READY
        assert (await served.ask(method, "/upstream/m/assets/app%2Ejs?v=1")).body == b"x"


@pytest.mark.rule("H81", "L147")
async def test_h79_to_h82_comfyui() -> None:
    async with (
        upstream(always(plain(b"x"))) as up,
        rig(up.endpoint, config=models("comfyui_auto")) as served,
    ):
        for method, status in (("GET", 301), ("HEAD", 301), ("POST", 308)):
            reply = await served.ask(method, "/comfyui?a=%20")
            assert (reply.status, reply["location"]) == (status, "/comfyui/?a=%20")
        for state in (ProcState.STOPPED, ProcState.STARTING, ProcState.STOPPING):
            served.fleet.states["comfyui_auto"] = state
            reply = await served.ask("GET", "/comfyui/app.js")
            assert reply.status == 409
            assert b"model comfyui_auto is not loaded; only /comfyui/ can start it" in reply.body
        assert (await served.ask("GET", "/comfyui/")).body == b"x"
        served.fleet.states["comfyui_auto"] = ProcState.READY
        assert (await served.ask("PATCH", "/comfyui/a%2Fb.js?c=%zz", body=b"y")).body == b"x"
    assert [seen.line for seen in up.seen] == ["GET / HTTP/1.1", "PATCH /a%2Fb.js?c=%zz HTTP/1.1"]


async def test_h80_comfyui_that_is_not_there() -> None:
    config = Configuration(models={"m": ModelConfig(aliases=("comfyui_auto",))})
    async with rig(config=config) as served:
        reply = await served.ask("GET", "/comfyui/")
    assert reply.status == 404
    assert b"local model comfyui_auto not found" in reply.body


async def test_a_stream_comes_through() -> None:
    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED + chunk(b"data: 1\n\n") + END)

    async with upstream(answer) as up, rig(up.endpoint) as served:
        reply = await served.ask("POST", "/upstream/m/v1/chat/completions", JSON, body=b"{}")
    assert reply.body == b"data: 1\n\n"


def with_profile(pins: dict[str, str]) -> Configuration:
    from swapcli.config import Profile

    return attrs.evolve(models("m"), profiles={"p": Profile(pins=pins)})


def with_peer(peer: PeerConfig) -> Configuration:
    return attrs.evolve(models("m"), peers={"p": peer}, peer_models={"p/real": ("p", "real")})
