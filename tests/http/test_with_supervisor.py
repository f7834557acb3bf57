"""The HTTP side on the real supervisor, with real children: small servers written for these tests."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from free_ports import free_port
from http_wire import JSON, PATIENCE, CutOff, Server, request, serving
from time_taken import takes

from swapcli.config import Configuration, ModelConfig
from swapcli.http import UpstreamPool, create_app
from swapcore import ModelId, ModelSpec, ProcState, Supervisor, open_supervisor

CHILD = """
import http.server, json, os, sys, time
name, port = sys.argv[1], int(sys.argv[2])
class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.answer(b"ok")
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked.get("die"):
            flag = asked["die"]
            if flag == "always" or not os.path.exists(flag):
                if flag != "always": open(flag, "w").close()
                os._exit(3)
        if not asked.get("stream"):
            return self.answer(json.dumps({"model": name, "pid": os.getpid()}).encode())
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(asked["stream"]):
            event = b"data: %d\\n\\n" % number
            self.wfile.write(b"%x\\r\\n%b\\r\\n" % (len(event), event)); self.wfile.flush()
            if asked.get("die_at") == number: os._exit(3)
            time.sleep(asked.get("pause", 0))
        self.wfile.write(b"0\\r\\n\\r\\n")
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", port), Model).serve_forever()
"""
BROKEN = "import sys; print('no such file: model.gguf', file=sys.stderr); sys.exit(1)"


@attrs.define(eq=False)
class Fleet:
    server: Server
    supervisor: Supervisor
    pool: UpstreamPool

    async def ask(self, model: str, **extra: object) -> tuple[int, bytes]:
        client = await self.server.client()
        body = json.dumps({"model": model, **extra}).encode()
        await client.send(request("POST", "/v1/chat/completions", JSON, body=body))
        with trio.fail_after(20):
            reply = await client.reply("POST")
        return reply.status, reply.body


@asynccontextmanager
async def fleet() -> AsyncGenerator[Fleet]:
    specs = []
    for name in ("one", "two", "broken"):
        port = free_port()
        script = BROKEN if name == "broken" else CHILD
        command = (sys.executable, "-c", script, name, str(port))
        specs.append(ModelSpec(name, command, f"http://127.0.0.1:{port}", start_timeout=30, unload_timeout=2))
    config = Configuration(models={spec.id: ModelConfig(proxy=spec.url) for spec in specs})
    pool = UpstreamPool()
    async with open_supervisor(specs, on_stopping=pool.close) as supervisor:
        async with serving(create_app(supervisor, config, pool)) as server:
            yield Fleet(server, supervisor, pool)
        pool.close_all()


@pytest.mark.rule("L71")
async def test_requests_load_and_swap_models() -> None:
    async with fleet() as served:
        for name in ("one", "two", "one"):
            status, body = await served.ask(name)
            assert (status, json.loads(body)["model"]) == (200, name)
        client = await served.server.client()
        running = json.loads((await client.ask("GET", "/running")).body)["running"]
        assert [(entry["model"], entry["state"]) for entry in running] == [("one", "ready")]
        listed = json.loads((await client.ask("GET", "/v1/models")).body)["data"]
        assert {entry["id"]: entry["status"]["value"] for entry in listed} == {
            "one": "loaded", "two": "unloaded", "broken": "unloaded",
        }  # fmt: skip


@pytest.mark.rule("L41", "L99")
@pytest.mark.rule("H117")
async def test_unload_ends_a_stream_visibly() -> None:
    async with fleet() as served:
        client = await served.server.client()
        body = json.dumps({"model": "one", "stream": 1000, "pause": 0.05}).encode()
        await client.send(request("POST", "/v1/chat/completions", JSON, body=body))
        with trio.fail_after(20):
            await trio.lowlevel.checkpoint()
            head = await client.head("POST")
        assert head["x-accel-buffering"] == "no"
        await client.piece()
        admin = await served.server.client()
        with takes(most=1.5):
            assert (await admin.ask("POST", "/api/models/unload/one")).body == b"OK"
        assert served.supervisor.state_of(ModelId("one")) is ProcState.STOPPED
        with pytest.raises(CutOff):
            await client.rest_of_body()


async def test_g17_a_crash_before_the_first_byte_is_not_seen_by_the_client(tmp_path: object) -> None:
    async with fleet() as served:
        assert (await served.ask("one"))[0] == 200
        status, body = await served.ask("one", die=f"{tmp_path}/died")
        assert (status, json.loads(body)["model"]) == (200, "one")


@pytest.mark.rule("L47")
async def test_a_request_that_always_kills_the_model_is_a_502() -> None:
    async with fleet() as served:
        status, body = await served.ask("one", die="always")
        assert status == 502
        assert json.loads(body)["error"]["code"] == "upstream_died"
        assert (await served.ask("two"))[0] == 200


@pytest.mark.rule("L47", "L57")
async def test_g45_a_crash_in_mid_stream_is_seen_by_the_client() -> None:
    async with fleet() as served:
        with pytest.raises(CutOff):
            await served.ask("one", stream=5, die_at=2)


@pytest.mark.rule("L71")
@pytest.mark.rule("H115", "L166")
async def test_a_failed_start_is_a_502_that_says_why() -> None:
    async with fleet() as served:
        status, body = await served.ask("broken")
        error = json.loads(body)["error"]
        assert (status, error["code"]) == (502, "start_failed")
        assert error["message"].startswith("broken: ")
        assert "no such file: model.gguf" in error["message"]


async def test_load_by_hand() -> None:
    async with fleet() as served:
        client = await served.server.client()
        await client.send(request("POST", "/api/models/load/two", body=b""))
        with trio.fail_after(20):
            assert (await client.reply("POST")).status == 200
        assert served.supervisor.state_of(ModelId("two")) is ProcState.READY


@pytest.mark.rule("L65", "L71")
@pytest.mark.rule("H118", "L166")
async def test_after_close_waiting_and_new_requests_get_503() -> None:
    async with fleet() as served:
        served.supervisor.close()
        client = await served.server.client()
        reply = await client.ask("POST", "/v1/completions", JSON, body=b'{"model":"one"}')
        assert (reply.status, reply["retry-after"]) == (503, "5")
        assert json.loads(reply.body)["error"]["code"] == "shutting_down"


@pytest.mark.rule("L71")
@pytest.mark.rule("L166")
async def test_a_client_that_leaves_the_queue_starts_nothing() -> None:
    async with fleet() as served:
        streaming = await served.server.client()
        body = json.dumps({"model": "one", "stream": 1000, "pause": 0.05}).encode()
        await streaming.send(request("POST", "/v1/completions", JSON, body=body))
        await streaming.head("POST")
        waiting = await served.server.client()
        await waiting.send(request("POST", "/v1/completions", JSON, body=b'{"model":"two"}'))
        with trio.fail_after(PATIENCE):
            while served.supervisor.statistics().models[ModelId("two")].waiting != 1:  # noqa: ASYNC110
                await trio.sleep(0.005)
            waiting.stream.socket.close()
            while served.supervisor.statistics().models[ModelId("two")].waiting:  # noqa: ASYNC110
                await trio.sleep(0.005)
        assert served.supervisor.state_of(ModelId("two")) is ProcState.STOPPED
