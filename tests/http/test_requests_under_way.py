"""Requests are listed while they last, and can be called off: through the server, on real sockets."""

from __future__ import annotations

import json

import pytest
import trio
from http_wire import (
    CHUNKED,
    END,
    JSON,
    PATIENCE,
    CutOff,
    Reply,
    always,
    chunk,
    request,
)
from recorded_server import ANSWER, Held, recorded


@pytest.mark.rule("H143")
@pytest.mark.rule("H144")
@pytest.mark.rule("H146")
@pytest.mark.rule("L154")
async def test_an_entry_of_the_list() -> None:
    held = Held(begin=CHUNKED + chunk(b"data: 1\n\n"), end=END)
    async with recorded(held) as served, trio.open_nursery() as nursery:
        headers = (JSON, "X-Session-ID: 7", "Cookie: c", "X-Forwarded-For: 10.0.0.7 , 10.0.0.8")
        ask = served.ask
        nursery.start_soon(lambda: ask("POST", "/v/completions", *headers, body=b'{"model":"em"}'))
        await held.asked.wait()
        with trio.fail_after(PATIENCE):
            while not (entry := await served.entry())["resp_bytes"]:  # noqa: ASYNC110 - nor its growth
                await trio.sleep(0.001)
        held.go_on.set()
    assert (entry["id"], entry["model"], entry["req_path"]) == ("1", "m", "/v/completions")
    assert (entry["method"], entry["remote_ip"], entry["resp_bytes"]) == ("POST", "10.0.0.7", 9)
    assert entry["req_headers"]["X-Session-Id"] == "7"
    assert entry["req_headers"]["Cookie"] == "[REDACTED]"
    assert "Host" not in entry["req_headers"]
    assert entry["resp_headers"]["Content-Type"] == "text/event-stream"
    assert entry["state"] == "serving"


@pytest.mark.rule("H143")
async def test_gets_are_listed_and_requests_without_a_model_are_not() -> None:
    held = Held()
    async with recorded(held) as served, trio.open_nursery() as nursery:
        await served.chat(b"{}")
        assert len(served.recorder.inflight) == 0
        nursery.start_soon(served.ask, "GET", "/props?model=m")
        assert (await served.entry())["id"] == "1"
        await held.asked.wait()
        held.go_on.set()


@pytest.mark.rule("H142")
@pytest.mark.rule("H106")
@pytest.mark.rule("L156")
async def test_cancelling_a_request_that_was_not_answered() -> None:
    held = Held()
    async with recorded(held) as served:
        missing = await served.cancel("1")
        assert (missing.status, json.loads(missing.body)["error"]["message"]) == (
            404, "inflight request not found",
        )  # fmt: skip
        replies: list[Reply] = []

        async def ask() -> None:
            replies.append(await served.chat())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await held.asked.wait()
            reply = await served.cancel("1")
            assert (reply.status, reply.body) == (200, b'{"msg":"ok"}\n')
        (reply,) = replies
        assert (reply.status, json.loads(reply.body)["error"]["code"]) == (503, "cancelled")
        assert reply["x-should-retry"] == "false"
        row = await served.row()
        assert (row["resp_status_code"], row["error_msg"]) == (503, "the request was cancelled")
        assert served.fleet.held == 0
        assert (await served.cancel("1")).status == 404


@pytest.mark.rule("H106")
@pytest.mark.rule("L156")
async def test_cancelling_a_request_in_mid_stream() -> None:
    held = Held(begin=CHUNKED + chunk(b"data: 1\n\n"))
    async with recorded(held) as served:
        client = await served.server.client()
        await client.send(request("POST", "/v1/completions", JSON, body=b'{"model":"m"}'))
        await client.head("POST")
        await client.piece()
        assert (await served.cancel("1")).status == 200
        with pytest.raises(CutOff):
            await client.rest_of_body()
        assert (await served.row())["resp_status_code"] == 200


@pytest.mark.rule("H147")
@pytest.mark.rule("H208")
async def test_events_tell_of_requests_and_records() -> None:
    async with recorded(always(ANSWER)) as served:
        watcher = await served.server.client()
        await watcher.send(request("GET", "/api/events"))
        await watcher.head()
        seen = b""

        async def until(text: bytes) -> None:
            nonlocal seen
            with trio.fail_after(PATIENCE):
                while text not in seen:
                    seen += await watcher.piece() or b""

        await until(b"snapshot")
        await served.chat()
        await until(b'"type":"activity"')
        messages = [
            json.loads(line[len(b"data:") :]) for line in seen.split(b"\n") if line.startswith(b"data:")
        ]
        inner = [(each["type"], json.loads(each["data"])) for each in messages]
        operations = [news["operation"] for kind, news in inner if kind == "inflight"]
        assert operations[0] == "snapshot"
        assert operations[-1] == "remove"
        assert [news for kind, news in inner if kind == "activity"] == [{"id": 1}]
        assert (await served.rows())[0]["id"] == 1
