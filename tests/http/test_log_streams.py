"""``/logs`` and ``/logs/stream``: histories, what is written from then on, and slow readers."""

from __future__ import annotations

import re

import pytest
import trio
import trio.lowlevel
import trio.testing
from http_wire import PATIENCE, Client, CutOff, Rig, request, rig

from swapcli.config import Configuration, ModelConfig, PeerConfig, Selector
from swapcli.http import live_answers
from swapcore import ModelId, ModelLog


def configuration() -> Configuration:
    return Configuration(
        models={name: ModelConfig() for name in ("m", "org", "org/m2")},
        aliases={"short": "m", "gpt/4": "org"},
        peers={"peer": PeerConfig(proxy="http://127.0.0.1:1", models=("far",))},
        peer_models={"peer/far": ("peer", "far"), "far": ("peer", "far")},
        selectors={"any": Selector()},
    )


async def follow(served: Rig, path: str) -> Client:
    client = await served.server.client()
    await client.send(request("GET", path))
    return client


async def read(client: Client, length: int) -> bytes:
    """Read so many bytes of an endless body."""
    text = b""
    while len(text) < length:
        piece = await client.piece()
        assert piece is not None, text
        text += piece
    return text


def feed(served: Rig) -> None:
    logs = served.live.logs
    logs.write_line(b"[INFO] ours\n")
    logs.write_output(ModelId("m"), b"theirs\n")
    for model in ("m", "org", "org/m2"):
        served.fleet.log(ModelId(model)).write(f"of {model}\n".encode())


async def test_h196_logs_is_what_was_printed() -> None:
    async with rig(config=configuration()) as served:
        feed(served)
        reply = await served.ask("GET", "/logs")
        assert (reply.status, reply.body) == (200, b"[INFO] ours\n")
        assert reply["content-type"] == "text/plain"
        served.live.logs.apply(level="info", time_format="", to_stdout="both")
        feed(served)
        assert (await served.ask("GET", "/logs")).body == b"[INFO] ours\n[INFO] ours\ntheirs\n"


async def test_h196_a_browser_is_sent_to_the_page() -> None:
    async with rig(config=configuration()) as served:
        reply = await served.ask("GET", "/logs", "Accept: text/html,*/*")
    assert (reply.status, reply["location"]) == (302, "/ui/")


@pytest.mark.parametrize(
    ("path", "history"),
    [
        ("/logs/stream", b"[INFO] ours\n"),
        ("/logs/stream/", b"[INFO] ours\n"),
        ("/logs/stream/proxy", b"[INFO] ours\n"),
        ("/logs/stream/upstream", b"theirs\n"),
        ("/logs/stream/m", b"of m\n"),
        ("/logs/stream/short", b"of m\n"),
        ("/logs/stream/m/whatever/else", b"of m\n"),
        ("/logs/stream/org/m2", b"of org/m2\n"),
        ("/logs/stream/org%2Fm2", b"of org/m2\n"),
        ("/logs/stream/org%2Fm2/x", b"of org/m2\n"),
        ("/logs/stream/org/m3", b"of org\n"),
        ("/logs/stream/gpt/4", b"of org\n"),
    ],
)
async def test_h197_h199_each_log_begins_with_its_history(path: str, history: bytes) -> None:
    async with rig(config=configuration()) as served:
        feed(served)
        client = await follow(served, path)
        head = await client.head()
        assert head.status == 200
        assert head["content-type"] == "text/plain"
        assert head["x-content-type-options"] == "nosniff"
        assert head["x-accel-buffering"] == "no"
        assert head["transfer-encoding"] == "chunked"
        assert await read(client, len(history)) == history


@pytest.mark.parametrize("name", ["nobody", "peer/far", "far", "any", "proxy/x", "M"])
async def test_h198_there_is_no_other_log(name: str) -> None:
    async with rig(config=configuration()) as served:
        reply = await served.ask("GET", f"/logs/stream/{name}")
    assert reply.status == 400
    assert b"invalid logger. Use 'proxy', 'upstream' or a model's ID" in reply.body


@pytest.mark.parametrize("query", ["no-history", "no-history=0", "a=b&no-history="])
async def test_h199_history_can_be_left_out(query: str) -> None:
    async with rig(config=configuration()) as served:
        feed(served)
        client = await follow(served, f"/logs/stream/m?{query}")
        assert (await client.head()).status == 200
        await trio.testing.wait_all_tasks_blocked()
        served.fleet.log(ModelId("m")).write(b"live\n")
        assert await read(client, 5) == b"live\n"


async def test_h200_headers_come_at_once_and_then_each_write() -> None:
    async with rig(config=configuration()) as served:
        client = await follow(served, "/logs/stream/upstream")
        assert (await client.head()).status == 200, "although there is nothing to send yet"
        for text in (b"one", b" \xff two\n", b"three\n"):
            served.live.logs.write_output(ModelId("m"), text)
            assert await read(client, len(text)) == text


async def test_h201_a_slow_reader_is_told_how_much_it_missed() -> None:
    async with rig(config=configuration()) as served:
        client = await follow(served, "/logs/stream/m")
        await client.head()
        log, written = served.fleet.log(ModelId("m")), 0
        line = b"%07d " + b"x" * 991 + b"\n"
        for _ in range(40):  # far more than sockets and log hold together
            for _ in range(1000):
                log.write(line % written)
                written += 1
            await trio.lowlevel.checkpoint()
        log.write(b"end\n")
        text = b""
        while not text.endswith(b"end\n"):
            piece = await client.piece()
            assert piece is not None
            text += piece
    gap = "\n— (\\d+) bytes dropped, (\\d+) lines —\n".encode()
    gaps = [(int(size), int(lines)) for size, lines in re.findall(gap, text)]
    assert gaps
    left = re.sub(gap, b"", text)
    assert sum(size for size, _ in gaps) + len(left) == written * 1000 + 4
    assert sum(lines for _, lines in gaps) + left.count(b"\n") == written + 1
    assert sum(size for size, _ in gaps) + len(left) == written * 1000 + 4


async def test_a_reader_that_leaves_is_forgotten_and_the_others_go_on() -> None:
    async with rig(config=configuration()) as served:
        log = served.fleet.log(ModelId("m"))
        leaves, stays = await follow(served, "/logs/stream/m"), await follow(served, "/logs/stream/m")
        for client in (leaves, stays):
            await client.head()
        leaves.stream.socket.close()
        with trio.fail_after(PATIENCE):
            while "1 followers" not in repr(log):  # noqa: ASYNC110
                await trio.sleep(0.005)
        log.write(b"on\n")
        assert await read(stays, 3) == b"on\n"


async def test_streams_end_when_the_server_stops() -> None:
    async with rig(config=configuration()) as served:
        clients = [await follow(served, path) for path in ("/logs/stream", "/logs/stream/m", "/api/events")]
        for client in clients:
            await client.head()
        served.live.ending.set()
        for client in clients:
            await client.rest_of_body()  # to a clean end


@pytest.mark.parametrize("history", [10_000_000, 0], ids=["at its beginning", "later"])
async def test_a_follower_that_does_not_read_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, history: int
) -> None:
    monkeypatch.setattr(live_answers, "_LAST_WORDS", 0.2)
    async with rig(config=configuration()) as served:
        log = served.fleet.logs[ModelId("m")] = ModelLog(20_000_000)
        log.write(b"x" * history)
        client = await follow(served, "/logs/stream/m")
        await client.head()
        for _ in range(200):  # more than sockets hold
            log.write(b"x" * 50_000)
            await trio.testing.wait_all_tasks_blocked()
        served.live.ending.set()
        with trio.fail_after(PATIENCE):
            while "1 followers" in repr(log):  # noqa: ASYNC110
                await trio.sleep(0.005)
        with pytest.raises(CutOff):
            await client.rest_of_body()


async def test_head_is_answered_without_a_stream() -> None:
    async with rig() as served:
        for path in ("/logs/stream", "/api/events", "/logs"):
            reply = await served.ask("HEAD", path)
            assert (reply.status, reply.body) == (200, b"")


async def test_h23_logs_and_events_need_a_key() -> None:
    async with rig(config=Configuration(api_keys=("k",))) as served:
        for path in ("/logs/stream", "/api/events", "/logs"):
            assert (await served.ask("GET", path)).status == 401
