"""Who looks at a request first: the log, the browser's question, the route table, the key, the names."""

from __future__ import annotations

import json
import logging
import re

import attrs
import pytest
import trio
from http_wire import JSON, Reply, Seen, always, plain, rig, upstream
from recorded_server import ANSWER, recorded

from swapcli.config import Configuration, ModelConfig, ModelFilters, Profile, Selector
from swapcli.http.routes import ROUTES

KEY = "Authorization: Bearer key"
LOCKED = Configuration(models={"m": ModelConfig()}, api_keys=("key", "Other Key"))


@pytest.mark.rule("H1", "H23")
async def test_what_the_route_table_answers_needs_no_key_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "swapcli.access")
    asked = (
        ("OPTIONS", "//v1/nope/../models", 204),  # before the table: it would redirect
        ("GET", "/nope", 404),
        ("POST", "/v1/models", 405),
        ("GET", "/v1//models", 307),
        ("GET", "/v1/models", 401),
        ("POST", "/v1/completions", 401),
    )
    async with rig(config=LOCKED) as served:
        client = await served.server.client()
        for method, path, status in asked:
            assert (await client.ask(method, path)).status == status
    lines = [re.findall(r'"(\w+) (\S+) HTTP/1.1" (\d+)', record.getMessage()) for record in caplog.records]
    assert lines == [[(method, path, str(status))] for method, path, status in asked]


@pytest.mark.rule("H2", "H23")
async def test_every_route_but_these_needs_a_key() -> None:
    open_to_all = {"/health", "/wol-health", "/", "/favicon.ico", "/ui", "/upstream"}
    async with rig(config=LOCKED) as served:
        client = await served.server.client()
        for route in ROUTES:
            path = re.sub(r"\{.*?\}", "1", route.pattern)
            for method in {"any": ("GET", "POST", "BREW"), "GET": ("GET", "HEAD")}.get(
                route.method, (route.method,)
            ):
                reply = await client.ask(method, path, body=b"{}" if method == "POST" else None)
                assert (reply.status == 401) is (path not in open_to_all), (method, path)


@pytest.mark.rule("H2", "H59")
async def test_key_profile_selector_alias_own_name_and_then_the_filters() -> None:
    """Each step undoes, or needs, what the one before it did: in another order another body would arrive."""
    filters = ModelFilters(
        strip_params="keep, gone, model",
        set_params={"model": "never", "keep": "set", "more": 1},
        set_params_by_id={"m:hot": {"more": 2}, "m": {"more": 3}},
    )
    model = ModelConfig(aliases=("m:hot",), use_model_name="its-own-name", filters=filters)
    config = Configuration(
        models={"m": model},
        aliases={"m:hot": "m"},
        profiles={"p": Profile(pins={"gpt": "any"})},
        selectors={"any": Selector("pin", ("m:hot",))},
        api_keys=("key",),
    )
    body = b'{ "gone":1, "model" : "gpt", "keep":0, "n":1.50, "n":"\\u00e9" }'
    arrived = list[bytes]()

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        arrived.append(seen.body)
        await stream.send_all(ANSWER)

    async with recorded(answer, config=config) as served:
        assert (await served.ask("POST", "/v1/completions", JSON, body=b"no model")).status == 401
        chosen = await served.ask("PUT", "/api/profiles/active", KEY, body=b'{"name":"p"}')
        assert chosen.status == 200
        assert (await served.chat(body, KEY)).status == 200
        await served.until_idle()
        reply = await served.ask("GET", "/api/metrics/activity", KEY)
    assert arrived == [b'{ "model" : "its-own-name", "n":1.50, "n":"\\u00e9" ,"keep":"set","more":2}']
    (row,) = json.loads(reply.body)["data"]
    assert (row["model"], row["metadata"]["selector"]) == ("m", "any")


@pytest.mark.rule("H20")
async def test_without_keys_everybody_may_and_with_some_any_of_them_will_do() -> None:
    async with upstream(always(plain(b"x"))) as up:
        async with rig(up.endpoint, config=attrs.evolve(LOCKED, api_keys=())) as served:
            for headers in ((), ("Authorization: Bearer whatever",), ("Authorization: Basic ???",)):
                assert (await served.chat(b'{"model":"m"}', *headers)).status == 200
        async with rig(up.endpoint, config=LOCKED) as served:
            statuses = [
                (await served.chat(b'{"model":"m"}', f"X-Api-Key: {key}")).status
                for key in ("key", "Other Key", "KEY", "ke", "key2", "other key", "")
            ]
    assert statuses == [200, 200, 401, 401, 401, 401, 401]


# -- which routes there are ---------------------------------------------------------------------

POST_JSON = (
    "/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/messages", "/v1/messages/count_tokens",
    "/v1/embeddings", "/reranking", "/rerank", "/v1/rerank", "/v1/reranking", "/infill", "/completion",
    "/v1/audio/speech", "/v1/audio/voices", "/v1/images/generations", "/sdapi/v1/txt2img",
    "/sdapi/v1/img2img", "/audioapi/v1/tasks/run", "/v/chat/completions", "/v/responses", "/v/completions",
    "/v/messages", "/v/messages/count_tokens", "/v/embeddings", "/v/rerank", "/v/reranking",
)  # fmt: skip
POST_FORMS = ("/v1/audio/transcriptions", "/v1/images/edits")
GET = ("/v1/audio/voices", "/sdapi/v1/loras", "/props")
MULTIPART = "Content-Type: multipart/form-data; boundary=B"
FORM = "Content-Type: application/x-www-form-urlencoded"
BODIES = (
    (JSON, b'{"model":"m"}'),
    (MULTIPART, b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--B--\r\n'),
    (FORM, b"model=m"),
)


@pytest.mark.rule("H3", "H4", "H42")
async def test_whatever_names_a_model_in_its_body_is_relayed_with_any_kind_of_body() -> None:
    async with upstream(always(plain(b"answer"))) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        for path in (*POST_JSON, *POST_FORMS):
            for content_type, body in BODIES:
                reply = await client.ask("POST", path, content_type, body=body)
                assert (reply.status, reply.body) == (200, b"answer"), (path, content_type)
                forwarded = path.removeprefix("/audioapi")
                forwarded = forwarded[2:] if forwarded.startswith("/v/") else forwarded
                assert up.seen[-1].line == f"POST {forwarded} HTTP/1.1"
                assert up.seen[-1].body == body
    assert up.connections == 1


@pytest.mark.rule("H5", "H31")
async def test_whatever_names_a_model_in_its_query_is_relayed() -> None:
    async with upstream(always(plain(b"answer"))) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        for path in GET:
            reply = await client.ask("GET", f"{path}?x=%20&model=m&model=other")
            assert (reply.status, reply.body) == (200, b"answer")
            assert up.seen[-1].line == f"GET {path}?x=%20&model=m&model=other HTTP/1.1"


@pytest.mark.rule("H7")
async def test_the_other_routes_answer() -> None:
    """Each in its own way: what is asked here has a test of its own elsewhere."""
    expected = {
        ("GET", "/v1/models"): 200, ("GET", "/models"): 200, ("GET", "/running"): 200,
        ("GET", "/unload"): 200, ("GET", "/health"): 200, ("GET", "/wol-health"): 200, ("GET", "/"): 302,
        ("GET", "/favicon.ico"): 200, ("GET", "/ui/"): 200, ("GET", "/metrics"): 200, ("GET", "/logs"): 200,
        ("GET", "/upstream"): 302, ("GET", "/upstream/"): 404, ("GET", "/upstream/m/"): 200,
        ("BREW", "/upstream/m/x"): 200, ("GET", "/comfyui"): 301, ("PATCH", "/comfyui"): 308,
        ("GET", "/comfyui/"): 404, ("POST", "/api/models/unload"): 200,
        ("POST", "/api/models/unload/m"): 200, ("GET", "/api/profiles"): 200,
        ("PUT", "/api/profiles/active"): 400, ("POST", "/api/inflight/1/cancel"): 404,
        ("GET", "/api/metrics/activity"): 200, ("GET", "/api/metrics/stats"): 200,
        ("GET", "/api/performance"): 200, ("GET", "/api/version"): 200, ("GET", "/api/hardware"): 200,
        ("GET", "/api/captures/1"): 404,
    }  # fmt: skip
    unanswered = b"404 page not found\n"
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint) as served:
        await served.measured.hardware.take()
        for (method, path), status in expected.items():
            reply: Reply = await served.ask(method, path)
            assert reply.status == status, (method, path, reply)
            assert reply.body != unanswered, (method, path)
        for path in ("/logs/stream", "/logs/stream/", "/logs/stream/m", "/api/events"):  # these do not end
            client = await served.server.client()
            await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert (await client.head()).status == 200, path
