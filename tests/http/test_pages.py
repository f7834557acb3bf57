"""The endpoints that the server answers itself."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import attrs
import pytest
import trio
from http_wire import JSON, PATIENCE, always, plain, request, rig, upstream

from swapcli.config import Capabilities, Configuration, ModelConfig
from swapcli.http.access_log import go_duration
from swapcore import ModelId, ProcState, Unloaded


def configuration(**models: ModelConfig) -> Configuration:
    aliases = {alias: id for id, model in models.items() for alias in model.aliases}
    return Configuration(models=models, aliases=aliases)


async def test_h131_health() -> None:
    async with rig() as served:
        for path in ("/health", "/wol-health"):
            reply = await served.ask("GET", path)
            assert (reply.status, reply.body) == (200, b"OK")
            assert reply["content-type"] == "text/plain; charset=utf-8"


async def test_h132_root() -> None:
    async with rig() as served:
        reply = await served.ask("GET", "/?a=b")
    assert (reply.status, reply["location"], reply.body) == (302, "/ui", b'<a href="/ui">Found</a>.\n\n')


@pytest.mark.rule("H121")
@pytest.mark.rule("H122")
async def test_h119_h120_the_list_of_models() -> None:
    config = configuration(b=ModelConfig(name=" B ", description="\n"), a=ModelConfig(), Z=ModelConfig())
    async with rig(config=config) as served:
        served.fleet.states["b"] = ProcState.STARTING
        reply = await served.ask("GET", "/v1/models")
        same = await served.ask("GET", "/models")
    assert reply.body.endswith(b'],"object":"list"}\n')
    assert reply.body.startswith(b'{"data":[{"id":"Z","object":"model","created":')
    assert reply["content-type"] == "application/json"
    assert "access-control-allow-origin" not in reply
    records = json.loads(reply.body)["data"]
    assert [record["id"] for record in records] == ["Z", "a", "b"]
    assert len({record.pop("created") for record in records}) == 1
    assert records[2] == {
        "id": "b", "object": "model", "owned_by": "swapcli", "name": "B",
        "meta": {"llamaswap": {"type": "model"}}, "status": {"value": "loaded"},
    }  # fmt: skip
    assert records[1]["status"] == {"value": "unloaded"}
    assert "name" not in records[1]
    strip = re.compile(rb'"created":\d+')
    assert strip.sub(b"", same.body) == strip.sub(b"", reply.body)


async def test_h19_the_origin_is_echoed_on_the_list_only() -> None:
    async with rig() as served:
        assert (await served.ask("GET", "/v1/models", "Origin: http://x"))[
            "access-control-allow-origin"
        ] == "http://x"
        assert "access-control-allow-origin" not in await served.ask("GET", "/running", "Origin: http://x")


async def test_h123_h125_aliases_and_metadata() -> None:
    model = ModelConfig(aliases=("gpt-4", " "), metadata={"z": 1, "type": "mine", "a": {"b": [1]}})
    config = configuration(m=model, hidden=ModelConfig(unlisted=True, aliases=("h",)))
    async with rig(config=config) as served:
        (record,) = json.loads((await served.ask("GET", "/v1/models")).body)["data"]
    assert record["meta"]["llamaswap"] == {
        "a": {"b": [1]},
        "aliases": ["gpt-4", " "],
        "type": "model",
        "z": 1,
    }
    async with rig(config=attrs.evolve(config, include_aliases_in_list=True)) as served:
        first, second = json.loads((await served.ask("GET", "/v1/models")).body)["data"]
    assert (first["id"], second["id"]) == ("gpt-4", "m")
    assert first["meta"]["llamaswap"] == {"a": {"b": [1]}, "modelID": "m", "type": "alias", "z": 1}


async def test_h129_h130_capabilities() -> None:
    can = type(ModelConfig().capabilities)(
        inputs=("text", "image"), outputs=("text",), tools=True, context=4096
    )
    config = configuration(m=ModelConfig(capabilities=can, metadata={"context_length": 1, "k": 2}))
    async with rig(config=config) as served:
        reply = await served.ask("GET", "/v1/models")
    assert b'"text+image-\\u003etext"' in reply.body
    (record,) = json.loads(reply.body)["data"]
    assert list(record) == [
        "id", "object", "created", "owned_by", "architecture", "capabilities", "supported_parameters",
        "context_length", "meta", "status",
    ]  # fmt: skip
    assert record["architecture"] == {
        "input_modalities": ["text", "image"], "modality": "text+image->text", "output_modalities": ["text"],
    }  # fmt: skip
    assert record["capabilities"] == {"vision": True, "function_calling": True}
    assert record["supported_parameters"] == ["tools", "tool_choice"]
    assert record["meta"] == {"llamaswap": {"k": 2, "type": "model"}, "n_ctx": 4096}


@pytest.mark.parametrize(
    ("reads", "produces", "more", "flags", "modality"),
    [
        (("audio",), ("text",), {}, {"audio_transcriptions"}, "audio->text"),
        (("text",), ("audio",), {}, {"audio_speech"}, "text->audio"),
        (("text", "image"), ("image",), {}, {"vision", "image_generation", "image_to_image"},
         "text+image->image"),
        (("image",), (), {}, {"vision"}, None),
        ((), ("text",), {}, set(), None),
        ((), (), {"reranker": True, "context": 9}, {"reranker"}, None),
    ],
    ids=["transcription", "speech", "images", "only in", "only out", "reranker"],
)  # fmt: skip
async def test_h129_what_follows_from_what_a_model_reads_and_produces(
    reads: tuple[str, ...], produces: tuple[str, ...], more: dict[str, Any], flags: set[str],
    modality: str | None,
) -> None:  # fmt: skip
    can = Capabilities(inputs=reads, outputs=produces, **more)
    async with rig(config=configuration(m=ModelConfig(capabilities=can))) as served:
        (record,) = json.loads((await served.ask("GET", "/v1/models")).body)["data"]
    assert record.get("capabilities", {}) == dict.fromkeys(flags, True)
    assert record.get("architecture", {}).get("modality") == modality
    assert record.get("architecture", {}).get("input_modalities", []) == list(reads)
    assert record.get("architecture", {}).get("output_modalities", []) == list(produces)
    assert record.get("context_length", 0) == more.get("context", 0)
    assert "supported_parameters" not in record


@pytest.mark.rule("L7")
async def test_h133_running() -> None:
    model = ModelConfig(cmd="serve <x>", proxy="http://localhost:5800", ttl=60, name=" N ", description="D")
    async with rig(config=configuration(b=model, a=ModelConfig(), c=ModelConfig())) as served:
        assert (await served.ask("GET", "/running")).body == b'{"running":[]}\n'
        served.fleet.states.update(b=ProcState.READY, a=ProcState.STOPPING)
        reply = await served.ask("GET", "/running")
    assert b"serve \\u003cx\\u003e" in reply.body
    first, second = json.loads(reply.body)["running"]
    assert (first["model"], first["state"], first["ttl"]) == ("a", "stopping", 0)
    assert second == {
        "model": "b", "state": "ready", "cmd": "serve <x>", "proxy": "http://localhost:5800", "ttl": 60,
        "name": " N ", "description": "D",
    }  # fmt: skip


@pytest.mark.rule("L96")
async def test_h134_unload_everything() -> None:
    async with rig() as served:
        reply = await served.ask("GET", "/unload")
        assert (reply.status, reply.body) == (200, b"OK")
        reply = await served.ask("POST", "/api/models/unload", body=b"")
        assert (reply.status, reply.body) == (200, b'{"msg":"ok"}\n')
        assert served.fleet.calls == [("unload",), ("unload",)]


@pytest.mark.parametrize("name", ["org/m", "org%2Fm", "al%2F%2Fias", "org%2F%6D"])
@pytest.mark.rule("L96")
async def test_h135_unload_one(name: str) -> None:
    config = configuration(**{"org/m": ModelConfig(aliases=("al//ias",))})
    async with rig(config=config) as served:
        reply = await served.ask("POST", f"/api/models/unload/{name}", body=b"")
        assert (reply.status, reply.body) == (200, b"OK")
        assert served.fleet.calls == [("unload", "org/m")]


@pytest.mark.parametrize("path", ["/api/models/unload/nope", "/api/models/unload/", "/api/models/load/nope"])
@pytest.mark.rule("L96")
async def test_h135_unknown_names(path: str) -> None:
    async with rig() as served:
        reply = await served.ask("POST", path, body=b"")
        assert reply.status == 404
        assert json.loads(reply.body)["error"]["message"] == "model not found"
        assert (
            await served.ask("POST", path, "Accept: text/plain", body=b"")
        ).body == b"swapcli: model not found"
        assert served.fleet.calls == []


async def test_load() -> None:
    async with upstream(always(plain(b""))) as up, rig(up.endpoint) as served:
        reply = await served.ask("POST", "/api/models/load/m")
        assert (reply.status, reply.body) == (200, b'{"msg":"ok"}\n')
        assert served.fleet.calls == [("load", "m")]
        served.fleet.failures["m"] = [Unloaded(ModelId("m"), "unloaded")]
        reply = await served.ask("POST", "/api/models/load/m")
        assert (reply.status, json.loads(reply.body)["error"]["code"]) == (503, "unloaded")


async def test_h192_version() -> None:
    async with rig() as served:
        reply = await served.ask("GET", "/api/version")
    assert list(json.loads(reply.body)) == ["build_date", "commit", "version"]
    assert reply.body.endswith(b"}\n")


async def test_a_client_that_leaves_a_page_does_no_harm() -> None:
    async with rig() as served:
        for _ in range(3):
            client = await served.server.client()
            await client.send(request("GET", "/v1/models"))
            client.stream.socket.close()
        assert (await served.ask("GET", "/health")).status == 200


# -- the log ------------------------------------------------------------------------------


async def test_h203_one_line_for_each_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "swapcli.access")
    async with upstream(always(plain(b"12345"))) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        agent = "User-Agent: cu rl/1"
        await client.ask("POST", "/v1/chat/completions?x=1", JSON, agent, body=b'{"model":"m"}')
        await client.ask("GET", "/n%6fpe", "X-Forwarded-For: 10.1.1.1 , 10.2.2.2")
        await client.ask("OPTIONS", "/", "X-Real-IP: 10.3.3.3")
        await client.ask("GET", "/wol-health")
        await client.ask("GET", "/health")
    lines = [re.sub(r" [0-9.]+(µs|ms|s)$", "", record.getMessage()) for record in caplog.records]
    assert lines == [
        'Request 127.0.0.1 "POST /v1/chat/completions HTTP/1.1" 200 5 "cu rl/1"',
        'Request 10.1.1.1 "GET /nope HTTP/1.1" 404 19 ""',
        'Request 10.3.3.3 "OPTIONS / HTTP/1.1" 204 0 ""',
        'Request 127.0.0.1 "GET /health HTTP/1.1" 200 2 ""',
    ]


async def test_h204_what_programs_ask_for_all_the_time_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "swapcli.access")
    async with rig() as served:
        for path in (
            "/wol-health",
            "/metrics",
            "/api/performance?after=",
            "/api/performances",
            "/metricsx",
            "/x",
        ):
            await served.ask("GET", path)
    assert len(caplog.records) == 1
    assert '"GET /x HTTP/1.1"' in caplog.records[0].getMessage()


async def test_a_client_cannot_write_lines_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "swapcli.access")
    async with rig() as served:
        await served.ask("GET", "/a%0A[INFO]%20lie%1b[2J%C2%9B", "X-Real-IP: é\x9b")
    assert (
        'Request é\\x9b "GET /a\\x0a[INFO] lie\\x1b[2J\\x9b HTTP/1.1" 404' in caplog.records[0].getMessage()
    )


async def test_a_client_that_left_unanswered_is_logged_as_499(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "swapcli.access")
    asked = trio.Event()

    async def never(seen: object, stream: trio.SocketStream) -> None:
        asked.set()
        await trio.sleep_forever()

    async with upstream(never) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(request("POST", "/v1/completions", JSON, body=b'{"model":"m"}'))
        with trio.fail_after(PATIENCE):
            await asked.wait()
        client.stream.socket.close()
        with trio.fail_after(PATIENCE):
            while not caplog.records:  # noqa: ASYNC110
                await trio.sleep(0.005)
    assert '"POST /v1/completions HTTP/1.1" 499 0 ""' in caplog.records[0].getMessage()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ns"), (1e-9, "1ns"), (8.483e-6, "8.483µs"), (0.0024, "2.4ms"), (0.3064, "306.4ms"),
        (1.2, "1.2s"),
        (60.5, "1m0.5s"), (3600, "1h0m0s"), (7325.25, "2h2m5.25s"), (0.001234567, "1.235ms"), (12, "12s"),
    ],
)  # fmt: skip
def test_h203_durations_are_gos(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
