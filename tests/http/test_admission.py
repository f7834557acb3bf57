"""Who is let in, who waits, and what becomes of them when their model does: on the real supervisor."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio
from gated_server import ANSWER, Served, served, streams
from http_wire import CHUNKED, END, PATIENCE, Client, CutOff, Seen, chunk, request

from swapcli.config import ModelConfig, Selector
from swapcore import ModelId, ProcState

M = ModelId("m")
LOADS = ModelConfig(send_loading_state=True)
IGNORES = attrs.evolve(
    ModelConfig(), compat=attrs.evolve(ModelConfig().compat, ignore_websockets=True), concurrency_limit=1
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def error_of(body: bytes) -> dict[str, Any]:
    answer = json.loads(body)
    assert answer["src"] == "swapcli"
    error: dict[str, Any] = answer["error"]
    return error


async def nothing_is_sent(client: Client) -> None:
    with trio.move_on_after(0.1):
        raise AssertionError(await client.stream.receive_some(1))


class Gate:
    """An upstream that answers once it is told to."""

    def __init__(self) -> None:
        self.go_on = trio.Event()

    async def __call__(self, seen: Seen, stream: trio.SocketStream) -> None:
        await self.go_on.wait()
        await stream.send_all(CHUNKED + chunk(ANSWER) + END)


# -- how many -----------------------------------------------------------------------------------


@pytest.mark.rule("H112", "L69", "L75", "L166")
@pytest.mark.rule("L168")
async def test_one_more_than_the_limit_is_turned_away_at_once_even_while_the_model_loads() -> None:
    limited = attrs.evolve(LOADS, concurrency_limit=2)
    async with served({"m": limited, "m2": limited}) as fleet:
        waiting = [await fleet.ask() for _ in range(2)]
        await fleet.until_called("m", 2)
        for _ in range(2):
            reply = await (await fleet.ask()).reply("POST")  # no word of the loading before the status
            assert (reply.status, reply["retry-after"]) == (429, "1")
            assert error_of(reply.body)["code"] == "concurrency_limit"
        fleet.gate("m").set()
        for client in waiting:
            assert ANSWER in (await client.reply("POST")).body
        await fleet.until_called("m", 0)
        assert (await (await fleet.ask()).reply("POST")).status == 200, "there is room again"


@pytest.mark.rule("H112", "G30")
async def test_without_a_limit_ten_are_served_at_once_and_others_wait() -> None:
    gate = Gate()
    async with served({"m": ModelConfig(max_waiting=3)}, gate) as fleet:
        fleet.gate("m").set()
        clients = [await fleet.ask() for _ in range(13)]
        await fleet.until_called("m", 13)
        with trio.fail_after(PATIENCE):
            while len(fleet.up.seen) < 10:  # noqa: ASYNC110
                await trio.sleep(0.002)
        for client in clients[10:]:
            await nothing_is_sent(client)
        assert len(fleet.up.seen) == 10
        reply = await (await fleet.ask()).reply("POST")
        assert (reply.status, error_of(reply.body)["code"]) == (429, "queue_full")
        gate.go_on.set()
        assert [(await client.reply("POST")).status for client in clients] == [200] * 13


@pytest.mark.rule("H77")
async def test_requests_by_path_count_and_swap_like_any_other() -> None:
    gate = Gate()
    limited = ModelConfig(concurrency_limit=2)
    async with served({"m": limited, "m2": ModelConfig()}, gate) as fleet:
        fleet.gate("m").set()
        fleet.gate("m2").set()
        by_path = [await fleet.ask(path=f"/upstream/m/{path}") for path in ("v1/completions", "other")]
        await fleet.until_called("m", 2)
        for path in ("/v1/completions", "/upstream/m/v1/completions", "/upstream/m/more"):
            assert (await (await fleet.ask(path=path)).reply("POST")).status == 429
        other = await fleet.ask("m2", path="/upstream/m2/x")
        await fleet.until_called("m2", 1)
        await nothing_is_sent(other)
        assert fleet.supervisor.state_of(M) is ProcState.READY, "it is in use"
        gate.go_on.set()
        for client in (*by_path, other):
            assert (await client.reply("POST")).status == 200
        assert fleet.supervisor.state_of(M) is ProcState.STOPPED


# -- waiting ------------------------------------------------------------------------------------


@pytest.mark.rule("H114")
async def test_while_a_model_loads_its_clients_get_nothing() -> None:
    async with served({"m": ModelConfig()}) as fleet:
        client = await fleet.ask()
        await fleet.until_called("m", 1)
        await nothing_is_sent(client)
        fleet.gate("m").set()
        assert (await client.reply("POST")).body == ANSWER


@pytest.mark.rule("H115", "L166", "G36")
async def test_a_start_that_fails_is_told_to_all_who_wait_and_the_next_tries_again() -> None:
    pause_of_2 = attrs.evolve(ModelConfig(), restart=attrs.evolve(ModelConfig().restart, backoff=2))
    async with served({"m": pause_of_2}) as fleet:
        fleet.broken.add("m")
        waiting = [await fleet.ask() for _ in range(3)]
        await fleet.until_called("m", 3)
        fleet.gate("m").set()
        for client in waiting:
            reply = await client.reply("POST")
            assert (reply.status, error_of(reply.body)["code"]) == (502, "start_failed")
            assert "no such file" in error_of(reply.body)["message"]
        at_once = await (await fleet.ask()).reply("POST")
        assert (at_once.status, error_of(at_once.body)["code"]) == (503, "model_backing_off")
        pause = int(at_once["retry-after"])
        assert 1 <= pause <= 3  # 2 seconds, and chance
        fleet.broken.clear()
        await trio.sleep(pause)
        assert (await (await fleet.ask()).reply("POST")).status == 200


@pytest.mark.rule("H116", "L166", "G36")
async def test_an_unload_turns_away_who_waits_for_that_model() -> None:
    async with served({"m": ModelConfig(), "m2": ModelConfig()}) as fleet:
        loading, queued = await fleet.ask("m"), await fleet.ask("m2")
        await fleet.until_called("m", 1)
        await fleet.until_called("m2", 1)
        await nothing_is_sent(queued)
        admin = await fleet.server.client()
        assert (await admin.ask("POST", "/api/models/unload/m", body=b"")).body == b"OK"
        reply = await loading.reply("POST")
        assert (reply.status, error_of(reply.body)["code"]) == (503, "unloaded")
        fleet.gate("m2").set()
        assert (await queued.reply("POST")).status == 200


@pytest.mark.rule("H118", "L166", "G11")
async def test_when_the_server_stops_who_waits_is_told_and_who_is_served_goes_on() -> None:
    gate = Gate()
    async with served({"m": ModelConfig(), "m2": ModelConfig()}, gate) as fleet:
        fleet.gate("m").set()
        busy = await fleet.ask("m")
        await fleet.until_arrived(1)
        queued = await fleet.ask("m2")
        await fleet.until_called("m2", 1)
        fleet.supervisor.close()
        for client in (queued, await fleet.ask("m2"), await fleet.ask("m")):
            reply = await client.reply("POST")
            assert (reply.status, reply["retry-after"]) == (503, "5")
            assert error_of(reply.body)["code"] == "shutting_down"
        gate.go_on.set()
        assert (await busy.reply("POST")).body == ANSWER


@pytest.mark.rule("L166")
async def test_a_client_that_leaves_while_it_waits_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "swapcli.access")
    async with served({"m": ModelConfig()}) as fleet:
        client = await fleet.ask()
        await fleet.until_called("m", 1)
        client.stream.socket.close()
        await fleet.until_called("m", 0)
        with trio.fail_after(PATIENCE):
            while not caplog.records:  # noqa: ASYNC110 - the log sends no event
                await trio.sleep(0.002)
    assert '" 499 0 ""' in caplog.records[0].getMessage()


@pytest.mark.rule("H106", "H142", "L156")
async def test_a_request_that_is_cancelled_while_it_waits_loads_nothing() -> None:
    async with served({"m": ModelConfig(), "m2": ModelConfig()}) as fleet:
        loading, queued = await fleet.ask("m"), await fleet.ask("m2")
        await fleet.until_called("m2", 1)
        ids = {entry["model"]: entry["id"] for entry in fleet.recorder.inflight.snapshot()}
        admin = await fleet.server.client()
        assert (await admin.ask("POST", f"/api/inflight/{ids['m2']}/cancel")).status == 200
        reply = await queued.reply("POST")
        assert (reply.status, error_of(reply.body)["code"]) == (503, "cancelled")
        await fleet.until_called("m2", 0)
        fleet.gate("m").set()
        assert (await loading.reply("POST")).status == 200
        assert fleet.supervisor.state_of(ModelId("m2")) is ProcState.STOPPED


# -- websockets ---------------------------------------------------------------------------------


async def upgrade(fleet: Served, path: str = "/props?model=m") -> Client:
    client = await fleet.server.client()
    await client.send(request("GET", path, "Connection: Upgrade", "Upgrade: websocket"))
    return client


async def until_switched(client: Client) -> None:
    with trio.fail_after(PATIENCE):
        answer = b""
        while not answer.endswith(b"frame"):
            answer += await client.stream.receive_some(65536)
    assert answer.startswith(b"HTTP/1.1 101 ")


async def switching(seen: Seen, stream: trio.SocketStream) -> None:
    await stream.send_all(SWITCH + b"frame" if "upgrade" in seen else CHUNKED + chunk(ANSWER) + END)


@pytest.mark.rule("H110", "L143")
async def test_a_websocket_loads_its_model_has_a_place_and_is_in_nobody_s_way_once_it_ends() -> None:
    limited = ModelConfig(concurrency_limit=1, ttl=1)
    async with served({"m": limited, "m2": ModelConfig()}, switching) as fleet:
        fleet.gate("m2").set()
        client = await upgrade(fleet)
        await fleet.until_called("m", 1)
        await fleet.until_state("m", ProcState.STARTING)
        fleet.gate("m").set()
        await until_switched(client)
        (entry,) = fleet.recorder.inflight.snapshot()
        assert (entry["model"], entry["state"], entry["resp_bytes"]) == ("m", "serving", 5)
        assert entry["resp_headers"]["Upgrade"] == "websocket"
        assert (await (await fleet.ask()).reply("POST")).status == 429, "it has the only place"
        other = await fleet.ask("m2")
        await nothing_is_sent(other)
        await trio.sleep(1.1)
        assert fleet.supervisor.state_of(M) is ProcState.READY, "neither a swap nor the ttl ends it"
        client.stream.socket.close()
        assert (await other.reply("POST")).status == 200
        assert "m" not in [entry["model"] for entry in fleet.recorder.inflight.snapshot()]


@pytest.mark.rule("H111", "L67", "L144")
@pytest.mark.rule("L168")
async def test_an_ignored_websocket_has_no_place_and_a_swap_ends_it() -> None:
    async with served({"m": IGNORES, "m2": ModelConfig()}, switching) as fleet:
        for model in ("m", "m2"):
            fleet.gate(model).set()
        refused = await (await upgrade(fleet)).reply()
        assert refused.status == 409
        assert fleet.supervisor.state_of(M) is ProcState.STOPPED
        await fleet.supervisor.load(M)
        client = await upgrade(fleet)
        await until_switched(client)
        assert fleet.recorder.inflight.snapshot() == []
        assert fleet.supervisor.callers(M) == 0
        assert (await (await fleet.ask()).reply("POST")).status == 200, "the only place is free"
        assert (await (await fleet.ask("m2")).reply("POST")).status == 200
        assert await client.rest() == b""


@pytest.mark.rule("H111", "L144")
async def test_an_ignored_websocket_is_no_use_that_a_ttl_would_wait_for() -> None:
    async with served({"m": attrs.evolve(IGNORES, ttl=1)}, switching) as fleet:
        fleet.gate("m").set()
        await fleet.supervisor.load(M)
        client = await upgrade(fleet)
        await until_switched(client)
        assert await client.rest() == b""
        assert fleet.supervisor.state_of(M) is not ProcState.READY


@pytest.mark.rule("H55", "H111", "L128")
async def test_an_ignored_websocket_is_not_counted_where_requests_are_spread() -> None:
    ignores = attrs.evolve(IGNORES, concurrency_limit=0)
    selectors = {"any": Selector("spillover", ("m", "m2"))}
    async with served({"m": ignores, "m2": ignores}, switching, selectors=selectors) as fleet:
        fleet.gate("m").set()
        await fleet.supervisor.load(M)
        sockets = [await upgrade(fleet, "/props?model=any") for _ in range(2)]
        for client in sockets:
            await until_switched(client)
        assert (await (await fleet.ask("any")).reply("POST")).status == 200, "m2 would never be ready"
        assert [model for model, _ in fleet.arrived] == ["", "", "m"]


# -- an unload while a model answers ----------------------------------------------------------------


@pytest.mark.rule("H117")
@pytest.mark.parametrize("has_begun", [True, False])
async def test_an_unload_ends_what_the_model_was_answering(has_begun: bool) -> None:
    begun = trio.Event()

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        if has_begun:
            await stream.send_all(CHUNKED + chunk(b"data: 1\n\n"))
        begun.set()
        await trio.sleep_forever()

    async with served({"m": ModelConfig()}, answer) as fleet:
        fleet.gate("m").set()
        client = await fleet.ask()
        await begun.wait()
        if has_begun:
            await client.head("POST")
            assert await client.piece() == b"data: 1\n\n"
        admin = await fleet.server.client()
        assert (await admin.ask("GET", "/unload")).body == b"OK"
        if has_begun:
            with pytest.raises(CutOff):
                await client.rest_of_body()
        else:
            reply = await client.reply("POST")
            assert (reply.status, error_of(reply.body)["code"]) == (503, "unloaded")


@pytest.mark.rule("H134", "L96")
async def test_an_unload_is_answered_once_the_model_is_gone() -> None:
    async with served({"m": ModelConfig()}, streams()) as fleet:
        fleet.gate("m").set()
        for method, path, answer in (
            ("GET", "/unload", b"OK"),
            ("POST", "/api/models/unload", b'{"msg":"ok"}\n'),
            ("POST", "/api/models/unload/m", b"OK"),
            ("POST", "/api/models/unload/m", b"OK"),  # it does not run
        ):
            if answer != b"OK" or path != "/api/models/unload/m":
                await fleet.supervisor.load(M)
            admin = await fleet.server.client()
            assert (await admin.ask(method, path)).body == answer
            assert fleet.supervisor.state_of(M) is ProcState.STOPPED
