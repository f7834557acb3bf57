"""``/api/events``: what a client is told when it connects, and from then on."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio
import trio.lowlevel
from http_wire import PATIENCE, Client, Rig, request, rig

from swapcli.config import Configuration, ModelConfig, PeerConfig
from swapcli.http import LogNews
from swapcli.http.event_hub import MOST_BYTES
from swapcli.http.event_messages import ActivityRecorded, InflightUpsert
from swapcore import ModelId, ProcState, StateChanged, UnknownModel


@attrs.define(eq=False)
class Listener:
    """A client that takes events apart."""

    client: Client
    _text: str = ""

    async def next(self) -> tuple[str, Any]:
        """Return type and content of the next event."""
        while "\n\n" not in self._text:
            piece = await self.client.piece()
            assert piece is not None
            self._text += piece.decode()
        event, _, self._text = self._text.partition("\n\n")
        first, second = event.split("\n")
        assert first == "event:message"
        assert second.startswith('data:{"type":"')
        outer = json.loads(second.removeprefix("data:"))
        assert set(outer) == {"type", "data"}
        return outer["type"], json.loads(outer["data"])

    async def until(self, kind: str) -> Any:
        while True:
            found, content = await self.next()
            if found == kind:
                return content


OPENING = 6
"""Events that a client gets at once."""


async def listen(served: Rig) -> Listener:
    client = await served.server.client()
    await client.send(request("GET", "/api/events"))
    head = await client.head()
    assert head.status == 200
    assert head["content-type"] == "text/event-stream"
    return Listener(client)


async def caught_up(served: Rig) -> Listener:
    listener = await listen(served)
    for _ in range(OPENING):
        await listener.next()
    return listener


async def test_h205_headers() -> None:
    async with rig() as served:
        client = await served.server.client()
        await client.send(request("GET", "/api/events"))
        head = await client.head()
    names = {name.decode().lower(): value.decode() for name, value in head.headers}
    names.pop("date")
    assert names == {
        "content-type": "text/event-stream",
        "cache-control": "no-cache",
        "connection": "keep-alive",
        "x-content-type-options": "nosniff",
        "x-accel-buffering": "no",
        "transfer-encoding": "chunked",
    }


async def test_h207_the_order_at_connect() -> None:
    async with rig() as served:
        served.live.logs.write_line(b"[INFO] a\n")
        served.live.logs.write_output(ModelId("m"), b"caf\xc3\xa9 \xff\n")
        served.live.state.active_profile = lambda: "night"
        served.live.state.requests_in_flight = lambda: [{"id": "1"}]
        listener = await listen(served)
        seen = [await listener.next() for _ in range(OPENING)]
    assert [kind for kind, _ in seen] == [
        "logData", "logData", "modelStatus", "uiConfig", "profileChanged", "inflight",
    ]  # fmt: skip
    assert seen[0][1] == {"data": "[INFO] a\n", "source": "proxy"}
    assert seen[1][1] == {"data": "café \ufffd\n", "source": "upstream"}
    assert seen[3][1] == {"activity": {"session_id": ["X-Session-ID", "X-Litellm-Session-Id"]}}
    assert seen[4][1] == {"active": "night"}
    assert seen[5][1] == {"operation": "snapshot", "requests": [{"id": "1"}]}


async def test_h207_h208_what_is_empty_is_sent_too() -> None:
    async with rig() as served:
        listener = await listen(served)
        seen = [await listener.next() for _ in range(OPENING)]
    assert seen[0][1] == {"data": "", "source": "proxy"}
    assert seen[1][1] == {"data": "", "source": "upstream"}
    assert seen[4:] == [("profileChanged", {"active": None}), ("inflight", {"operation": "snapshot"})]


async def test_h209_model_status() -> None:
    can = type(ModelConfig().capabilities)(
        inputs=("text", "image"), outputs=("text",), tools=True, context=4096
    )
    config = Configuration(
        models={
            "b": ModelConfig(name=" B ", description="D", aliases=("x",), capabilities=can),
            "a": ModelConfig(unlisted=True),
        },
        peers={"p": PeerConfig(proxy="http://127.0.0.1:1", models=("m1", "m2"))},
    )
    async with rig(config=config) as served:
        served.fleet.states["b"] = ProcState.STARTING
        entries = await (await listen(served)).until("modelStatus")
    a, b, *peers = entries
    assert a == {
        "id": "a", "name": "", "description": "", "state": "stopped", "unlisted": True, "peerID": "",
    }  # fmt: skip
    assert b == {
        "id": "b", "name": " B ", "description": "D", "state": "starting", "unlisted": False, "peerID": "",
        "aliases": ["x"], "capabilities": {"vision": True, "function_calling": True}, "context_length": 4096,
    }  # fmt: skip
    assert peers == [
        {
            "id": f"p/{model}", "name": "", "description": "", "state": "", "unlisted": False, "peerID": "p",
        }
        for model in ("m1", "m2")
    ]  # fmt: skip


@pytest.mark.rule("L6")
async def test_h210_a_change_of_state_sends_the_whole_list() -> None:
    async with rig() as served:
        listener = await caught_up(served)
        for before, after in ((ProcState.STOPPED, ProcState.STARTING), (ProcState.STARTING, ProcState.READY)):
            served.fleet.states["m"] = after
            served.live.state.take(StateChanged(0.0, ModelId("m"), before, after, "request"))
            kind, entries = await listener.next()
            assert kind == "modelStatus"
            assert [(entry["id"], entry["state"]) for entry in entries] == [("m", after.value)]


async def test_h208_log_lines_are_sent_as_they_are_written() -> None:
    async with rig() as served:
        served.live.logs.on_write = LogNews(served.live.state.hub)
        listener = await caught_up(served)
        served.live.logs.write_line(b"[INFO] hello\n")
        assert await listener.next() == ("logData", {"data": "[INFO] hello\n", "source": "proxy"})
        served.live.logs.write_output(ModelId("m"), b"caf\xc3")
        served.live.logs.write_output(ModelId("m"), b"\xa9 \xff")
        text = ""
        while len(text) < 6:
            kind, content = await listener.next()
            assert (kind, content["source"]) == ("logData", "upstream")
            text += content["data"]
        assert text == "café \ufffd"


async def test_h208_a_profile_change_is_followed_by_the_status() -> None:
    async with rig() as served:
        listener = await caught_up(served)
        served.live.state.profile_changed("day")
        assert await listener.next() == ("profileChanged", {"active": "day"})
        assert (await listener.next())[0] == "modelStatus"


async def test_a_stream_goes_on_with_another_configuration() -> None:
    async with rig() as served:
        listener = await caught_up(served)
        served.live.state.use(Configuration(models={"new": ModelConfig()}))
        entries = await listener.until("modelStatus")
        assert [entry["id"] for entry in entries] == ["new"]
        assert (await listener.next())[0] == "uiConfig"


async def test_a_model_that_the_supervisor_has_forgotten_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgotten(fleet: object, model: ModelId) -> ProcState:
        raise UnknownModel(model)

    monkeypatch.setattr("http_wire.StubFleet.state_of", forgotten)
    async with rig() as served:
        entries = await (await listen(served)).until("modelStatus")
    assert [entry["state"] for entry in entries] == ["stopped"]


async def test_h211_a_slow_client_catches_up_with_what_is_true_then() -> None:
    async with rig() as served:
        served.live.logs.on_write = LogNews(served.live.state.hub)
        listener = await caught_up(served)
        line, written = b"x" * 9_999 + b"\n", 0
        for _ in range(8 * MOST_BYTES // len(line) // 50):
            for _ in range(50):
                served.live.logs.write_output(ModelId("m"), line)
                written += 1
            await trio.lowlevel.checkpoint()
        served.live.state.hub.publish(ActivityRecorded(7))
        served.fleet.states["m"] = ProcState.READY
        served.live.state.requests_in_flight = lambda: [{"id": "5"}]
        seen = dropped = 0
        with trio.fail_after(PATIENCE):
            while dropped == 0:
                kind, content = await listener.next()
                assert kind == "logData"
                if content["data"].startswith("\n— "):
                    dropped = int(content["data"].split()[1])
                else:
                    seen += content["data"].count("\n")
        assert seen + dropped == written
        assert [entry["state"] for entry in await listener.until("modelStatus")] == ["ready"]
        assert (await listener.until("inflight"))["requests"] == [{"id": "5"}]
        assert await listener.next() == ("activity", {"id": 7})
        served.live.state.hub.publish(InflightUpsert({"id": "6"}))
        assert await listener.next() == ("inflight", {"operation": "upsert", "request": {"id": "6"}})
