"""Requests are recorded, and kept whole: through the server, on real sockets."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest
import trio
from http_wire import (
    CHUNKED,
    END,
    JSON,
    CutOff,
    Seen,
    always,
    chunk,
    plain,
    request,
    upstream,
)
from recorded_server import ANSWER, USAGE, Held, recorded

from swapcli.config import Configuration, ModelConfig, PeerConfig, Selector
from swapcli.config._routing import Fifo, Routing, Scheduler, SchedulerSettings
from swapcli.config._top_level import Store
from swapcli.http.routes import ROUTES
from swapcore import ModelId, Overloaded, StartFailed

# -- what is recorded ---------------------------------------------------------------------------


@pytest.mark.rule("H166")
@pytest.mark.rule("H169")
async def test_a_row() -> None:
    async with recorded(always(ANSWER)) as served:
        await served.chat(b'{"model":"em"}')
        row = await served.row()
    assert row.pop("timestamp")
    assert row.pop("duration_ms") < 5000
    assert row == {
        "id": 1,
        "model": "m",
        "req_path": "/v1/chat/completions",
        "resp_content_type": "application/json",
        "resp_status_code": 200,
        "tokens": {
            "cache_tokens": -1, "draft_tokens": -1, "draft_acc_tokens": -1, "input_tokens": 4,
            "output_tokens": 2, "prompt_per_second": -1, "tokens_per_second": -1,
        },
        "has_capture": True,
        "metadata": {"fifo_priority": "0"},
    }  # fmt: skip


@pytest.mark.rule("H163")
async def test_posts_are_metered_and_gets_are_not() -> None:
    async with recorded(always(ANSWER)) as served:
        for route in ROUTES:
            if not route.is_ours and "{" not in route.pattern:
                path = f"{route.pattern}?model=m"
                assert (await served.ask(route.method, path, body=b"")).status == 200, path
        await served.until_idle()
        rows = await served.rows("?limit=999&order=asc")
    posts = [
        route.upstream_path
        for route in ROUTES
        if route.method == "POST" and not route.is_ours and "{" not in route.pattern
    ]
    assert [row["req_path"] for row in rows] == posts


@pytest.mark.rule("H38")
@pytest.mark.rule("H164")
async def test_every_request_with_a_model_has_a_row_whatever_becomes_of_it() -> None:
    async with recorded(always(plain(b"", status="503 Service Unavailable"))) as served:
        served.fleet.failures["m"] = [StartFailed(ModelId("m"), "no")]
        for body in (b"{}", b'{"model":"nobody"}', b'{"model":"m"}', b'{"model":"m"}'):
            await served.chat(body)
        await served.until_idle()
        rows = await served.rows("?order=asc")
    assert [(row["model"], row["resp_status_code"]) for row in rows] == [
        ("nobody", 404), ("m", 502), ("m", 503),
    ]  # fmt: skip
    assert rows[0]["error_msg"] == "no router for requested model"
    assert rows[2]["error_msg"] == "503 Service Unavailable"
    assert "metadata" not in rows[0]


@pytest.mark.rule("H168")
async def test_the_duration_is_all_the_time_it_took() -> None:
    held = Held()
    async with recorded(held) as served, trio.open_nursery() as nursery:
        nursery.start_soon(served.chat)
        await held.asked.wait()
        await trio.sleep(0.15)
        held.go_on.set()
        await trio.sleep(0.01)
        assert 150 <= (await served.row())["duration_ms"] < 5000


@pytest.mark.rule("H97")
@pytest.mark.rule("H172")
async def test_only_codings_that_can_be_read_are_asked_for() -> None:
    packed = plain(gzip.compress(USAGE), "Content-Type: application/json", "Content-Encoding: gzip")
    asked: list[str] = []

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        asked.append("".join(seen.values("accept-encoding")))
        await stream.send_all(packed)

    async with recorded(answer) as served:
        for value in ("br, GZIP;q=0.5,deflate", "br, zstd"):
            reply = await served.chat(b'{"model":"m"}', f"Accept-Encoding: {value}")
            assert gzip.decompress(reply.body) == USAGE
        await served.ask("GET", "/props?model=m", "Accept-Encoding: br")
        await served.until_idle()
        assert [row["tokens"]["input_tokens"] for row in await served.rows()] == [4, 4]
    assert asked == ["GZIP;q=0.5, deflate", "", "br"]


@pytest.mark.rule("H174")
async def test_a_stream() -> None:
    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        usage = b'data: {"usage":{"prompt_tokens":7,"completion_tokens":3}}'
        events = b'data: {"x":1}\n\n' + usage + b"\n\ndata: [DONE]\n\n"
        await stream.send_all(CHUNKED)
        for start in range(0, len(events), 5):
            await stream.send_all(chunk(events[start : start + 5]))
        await stream.send_all(END)

    async with recorded(answer) as served:
        await served.chat()
        row = await served.row()
        assert (row["tokens"]["input_tokens"], row["tokens"]["output_tokens"]) == (7, 3)
        assert row["resp_content_type"] == "text/event-stream"


@pytest.mark.rule("H171")
async def test_a_client_that_leaves() -> None:
    waiting, streaming = Held(), Held(begin=CHUNKED + chunk(b'data: {"usage":{"prompt_tokens":7}}\n\n'))
    for held, status, tokens in ((waiting, 499, 0), (streaming, 200, 7)):
        async with recorded(held) as served:
            client = await served.server.client()
            await client.send(request("POST", "/v1/completions", JSON, body=b'{"model":"m"}'))
            await held.asked.wait()
            if held.begin:
                await client.head("POST")
                await client.piece()
            client.stream.socket.close()
            row = await served.row()
        assert (row["resp_status_code"], row["tokens"]["input_tokens"]) == (status, tokens)
        assert row.get("error_msg", "") == ("the client closed the request" if status == 499 else "")


@pytest.mark.rule("H105")
async def test_an_upstream_that_breaks_off_is_recorded_as_it_began() -> None:
    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(CHUNKED + chunk(b'data: {"usage":{"prompt_tokens":7}}\n\n'))
        stream.socket.close()

    async with recorded(answer) as served:
        with pytest.raises(CutOff):
            await served.chat()
        row = await served.row()
    assert (row["resp_status_code"], row["tokens"]["input_tokens"]) == (200, 7)


# -- the endpoints ----------------------------------------------------------------------------


@pytest.mark.rule("H179")
@pytest.mark.rule("H181")
async def test_pages_of_the_record() -> None:
    async with recorded(always(ANSWER)) as served:
        empty = await served.ask("GET", "/api/metrics/activity")
        assert empty.body == b'{"data":[],"page":1,"limit":25,"total":0,"total_pages":0}\n'
        assert empty["content-type"] == "application/json"
        for _ in range(3):
            await served.chat()
        await served.until_idle()
        page = json.loads((await served.ask("GET", "/api/metrics/activity?limit=2&page=2&model=m")).body)
        assert [row["id"] for row in page.pop("data")] == [1]
        assert page == {"page": 2, "limit": 2, "total": 3, "total_pages": 2}
        assert await served.rows("?model=em&model=x") == []
        bad = await served.ask("GET", "/api/metrics/activity?sort=x")
        assert (bad.status, json.loads(bad.body)["error"]["message"]) == (400, "invalid sort column")


@pytest.mark.rule("H182")
@pytest.mark.rule("H183")
async def test_totals() -> None:
    timed = b'{"timings":{"prompt_n":1,"prompt_per_second":8.5,"predicted_n":2,"predicted_per_second":4}}'
    async with recorded(always(plain(timed))) as served:
        nothing = await served.ask("GET", "/api/metrics/stats?model=%20nobody%20")
        assert nothing.body == (
            b'{"total_requests":0,"total_input_tokens":0,"total_output_tokens":0,"total_cache_tokens":0,'
            b'"prompt_histogram":null,"gen_histogram":null}\n'
        )
        await served.chat()
        await served.until_idle()
        totals = json.loads((await served.ask("GET", "/api/metrics/stats?model=m%20")).body)
    assert (totals["total_requests"], totals["total_output_tokens"]) == (1, 2)
    assert list(totals["prompt_histogram"].items()) == [
        ("bins", [1]), ("min", 8.5), ("max", 8.5), ("binSize", 0), ("p50", 8.5), ("p95", 8.5), ("p99", 8.5),
    ]  # fmt: skip


async def test_a_record_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    from swapcli.activity.database import ActivityDatabase

    def fail(*_: object) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(ActivityDatabase, "page", fail)
    monkeypatch.setattr(ActivityDatabase, "totals", fail)
    monkeypatch.setattr(ActivityDatabase, "write", fail)
    async with recorded(always(ANSWER)) as served:
        assert (await served.chat()).status == 200
        for path, message in (
            ("activity", "failed to get activity"),
            ("stats", "failed to get activity stats"),
        ):
            reply = await served.ask("GET", f"/api/metrics/{path}")
            assert (reply.status, json.loads(reply.body)["error"]["message"]) == (500, message)
        assert (await served.chat()).status == 200


@pytest.mark.rule("H160")
@pytest.mark.rule("H162")
async def test_captures() -> None:
    headers = ("Content-Type: application/json", "Set-Cookie: s3cret")
    async with recorded(always(plain(USAGE, *headers))) as served:
        await served.ask(
            "POST", "/v/chat/completions", JSON, "Authorization: Bearer s3cret", body=b'{"model":"m"}'
        )
        await served.until_idle()
        reply = await served.ask("GET", "/api/captures/1")
        assert reply["content-type"] == "application/json"
        assert not reply.body.endswith(b"\n")
        assert b"s3cret" not in reply.body
        capture = json.loads(reply.body)
        assert (capture["id"], capture["req_path"]) == (1, "/chat/completions")
        assert base64.b64decode(capture["req_body"]) == b'{"model":"m"}'
        assert base64.b64decode(capture["resp_body"]) == USAGE
        assert capture["req_headers"]["Authorization"] == "[REDACTED]"
        assert capture["resp_headers"]["Content-Type"] == "application/json"
        assert (await served.ask("GET", "/api/captures/+1")).status == 200
        for id, status, message in (
            ("x", 400, "invalid capture ID"), ("1.0", 400, "invalid capture ID"),
            ("-1", 404, "capture not found"), ("2", 404, "capture not found"),
        ):  # fmt: skip
            reply = await served.ask("GET", f"/api/captures/{id}")
            assert (reply.status, json.loads(reply.body)["error"]["message"]) == (status, message)


@pytest.mark.rule("H158")
async def test_without_a_buffer_nothing_is_captured() -> None:
    config = Configuration(models={"m": ModelConfig()}, capture_buffer=-1)
    async with recorded(always(ANSWER), config=config) as served:
        await served.chat()
        assert (await served.row())["has_capture"] is False
        assert (await served.ask("GET", "/api/captures/1")).status == 404


async def test_a_request_that_is_longer_than_the_buffer_is_not_captured() -> None:
    async with recorded(always(ANSWER)) as served:
        long = b'{"model":"m","x":"%b"}' % (b"y" * 1024 * 1024)
        assert (await served.chat(long)).status == 200
        row = await served.row()
    assert (row["has_capture"], row["tokens"]["input_tokens"]) == (False, 4)


async def test_the_record_in_a_file(tmp_path: Path) -> None:
    config = Configuration(models={"m": ModelConfig()}, store=Store(f" {tmp_path / 'a.db'} "))
    for expected in ([1], [2, 1]):
        async with recorded(always(ANSWER), config=config) as served:
            await served.chat()
            await served.until_idle()
            assert [row["id"] for row in await served.rows()] == expected
    assert (tmp_path / "a.db").is_file()


async def test_endpoints_need_a_key() -> None:
    config = Configuration(models={"m": ModelConfig()}, api_keys=("k",))
    async with recorded(always(ANSWER), config=config) as served:
        for method, path in (
            ("GET", "/api/metrics/activity"), ("GET", "/api/metrics/stats"), ("GET", "/api/captures/1"),
            ("POST", "/api/inflight/1/cancel"),
        ):  # fmt: skip
            assert (await served.ask(method, path)).status == 401


# -- with selectors, limits and a queue -------------------------------------------------------


@pytest.mark.rule("H56", "H169", "L86")
async def test_a_selector_and_a_priority_are_in_the_metadata() -> None:
    fifo = Fifo(priority={"m": 7})
    config = Configuration(
        models={"m": ModelConfig()},
        selectors={"any": Selector("pin", ("m",))},
        routing=Routing(scheduler=Scheduler(settings=SchedulerSettings(fifo=fifo))),
    )
    async with recorded(always(ANSWER), config=config) as served:
        assert (await served.chat(b'{"model":"any"}')).status == 200
        row = await served.row()
    assert (row["model"], row["metadata"]) == ("m", {"fifo_priority": "7", "selector": "any"})


@pytest.mark.rule("H113")
async def test_a_request_that_is_turned_away_is_recorded() -> None:
    config = Configuration(models={"m": ModelConfig(concurrency_limit=1)})
    async with recorded(always(ANSWER), config=config) as served:
        served.fleet.failures["m"] = [Overloaded(ModelId("m"), "full")]
        assert (await served.chat()).status == 429
        row = await served.row()
    assert (row["resp_status_code"], row["error_msg"]) == (429, "Too many requests")
    assert "fifo_priority" not in row.get("metadata", {})


async def test_requests_to_a_peer_are_recorded_under_the_name_that_was_asked_for() -> None:
    async with upstream(always(ANSWER)) as peer:
        config = Configuration(
            models={"m": ModelConfig()},
            peers={"far": PeerConfig(proxy=peer.endpoint.url, models=("big",))},
            peer_models={"far/big": ("far", "big"), "big": ("far", "big")},
        )
        async with recorded(always(ANSWER), config=config) as served:
            assert (await served.chat(b'{"model":"far/big"}')).status == 200
            row = await served.row()
    assert row["model"] == "far/big"
    assert row["tokens"]["input_tokens"] == 4
    assert "metadata" not in row


@pytest.mark.parametrize("store", [None, Store(":memory:"), Store(" :memory: ")])
async def test_what_is_kept_in_memory_has_its_bound_whatever_it_is_called(store: Store | None) -> None:
    config = Configuration(models={"m": ModelConfig()}, store=store, metrics_max_in_memory=2)
    async with recorded(always(ANSWER), config=config) as served:
        for _ in range(4):
            await served.chat(b'{"model":"m"}')
        assert [row["id"] for row in await served.rows()] == [4, 3]
