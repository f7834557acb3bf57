"""What this server says when it turns a request away: the words that clients and scripts know (rule H30)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from free_ports import free_port
from http_wire import JSON, always, plain, rig, upstream

from swapcli.config import Configuration, ModelConfig, ModelFilters, PeerConfig, Selector
from swapcli.http.error_answers import ErrorAnswer
from swapcore import ProcState

FORM = "Content-Type: multipart/form-data; boundary=B"
MULTIPART = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n--B--\r\n'


def chat(model: str, **more: Any) -> tuple[str, str, str, bytes]:
    return "POST", "/v1/chat/completions", JSON, json.dumps({"model": model, **more}).encode()


def ask(method: str, path: str, header: str = JSON, body: bytes = b"") -> tuple[str, str, str, bytes]:
    return method, path, header, body


@pytest.fixture(scope="module")
def config() -> Configuration:
    nobody = f"http://127.0.0.1:{free_port()}"
    quiet = ModelConfig(compat=type(ModelConfig().compat)(ignore_websockets=True))
    return Configuration(
        models={
            "m": ModelConfig(),
            "filtered": ModelConfig(filters=ModelFilters(set_params={"messages.x": 1})),
            "stripped": ModelConfig(filters=ModelFilters(strip_params="messages.#")),
            "quiet": quiet,
        },
        aliases={"in--Bside": "m"},
        selectors={
            "spread": Selector("spillover", ("m",)),
            "odd": Selector("pin", ("in--Bside",)),
        },
        peers={"far": PeerConfig(nobody, ("x",))},
        peer_models={"far/x": ("far", "x")},
    )


CATALOGUE = [
    (chat(""), 404, "not_found", "no model id could be identified"),
    (chat("nobody"), 404, "not_found", "no router for requested model"),
    (ask("GET", "/upstream/nobody/x"), 404, "not_found", "model not found"),
    (ask("POST", "/api/models/unload/nobody"), 404, "not_found", "model not found"),
    (ask("POST", "/api/models/unload/far/x"), 404, "not_found", "model not found"),
    (ask("GET", "/comfyui/"), 404, "not_found", "local model comfyui_auto not found"),
    (ask("GET", "/api/captures/7"), 404, "not_found", "capture not found"),
    (ask("POST", "/api/inflight/7/cancel"), 404, "not_found", "inflight request not found"),
    (ask("PUT", "/api/profiles/active", body=b'{"name":"a\\"b\\n"}'), 404, "not_found",
     'profile "a\\"b\\n" not found'),
    (ask("POST", "/v1/images/edits", FORM, MULTIPART % b"odd"), 400, "bad_request",
     "could not rewrite model in multipart form: "),
    (ask("GET", "/logs/stream/nobody"), 400, "bad_request",
     "invalid logger. Use 'proxy', 'upstream' or a model's ID"),
    (ask("GET", "/api/captures/x"), 400, "bad_request", "invalid capture ID"),
    (ask("GET", "/api/metrics/activity?limit=0"), 400, "bad_request", "limit must be between 1 and 999"),
    (ask("GET", "/api/performance?after=x"), 400, "bad_request",
     "invalid 'after' timestamp, use RFC3339 format"),
    (ask("PUT", "/api/profiles/active"), 400, "bad_request", "invalid profile request"),
    (ask("GET", "/upstream/m/a.js"), 409, "conflict",
     "model m is not loaded; path matches upstream.ignorePaths"),
    (ask("GET", "/upstream/quiet/ws", "Connection: Upgrade\r\nUpgrade: websocket"), 409, "conflict",
     "model quiet is not loaded; ignored websocket requests cannot start it"),
    (chat("filtered", messages=[]), 500, "internal_error",
     "error setting parameter messages.x in request"),
    (chat("stripped", messages=[1]), 500, "internal_error",
     "error stripping parameter messages.# from request"),
    (chat("far/x"), 502, "bad_gateway", "peer proxy error: "),
    (chat("spread"), 503, "service_unavailable", 'selector "spread" has no available spillover targets'),
]  # fmt: skip


@pytest.mark.rule("H30", "L165", "L166")
@pytest.mark.parametrize(
    ("asked", "status", "code", "message"), CATALOGUE, ids=[f"{row[0][1]} {row[3][:25]}" for row in CATALOGUE]
)
async def test_the_words_of_an_error(
    asked: tuple[str, str, str, bytes], status: int, code: str, message: str, config: Configuration
) -> None:
    method, path, header, body = asked
    async with rig(config=config) as served:
        served.fleet.states["m"] = ProcState.STOPPING
        reply = await served.ask(method, path, *header.split("\r\n"), body=body or None)
        html = await served.ask(method, path, *header.split("\r\n"), "Accept: text/html", body=body or None)
    assert reply.status == html.status == status
    assert reply["content-type"] == "application/json"
    answer = json.loads(reply.body)
    assert answer["src"] == "swapcli"
    assert (answer["error"]["code"], answer["error"]["param"]) == (code, None)
    assert answer["error"]["message"].startswith(message)
    if not message.endswith(": "):
        assert answer["error"]["message"] == message
    assert html["content-type"] == "text/html"
    assert html.body.startswith(b"<html><body><h1>swapcli</h1><p>")


@pytest.mark.rule("H30", "H82", "L147")
async def test_the_words_for_a_model_that_only_its_own_page_may_load() -> None:
    async with upstream(always(plain(b"x"))) as up:
        config = Configuration(models={"comfyui_auto": ModelConfig()})
        async with rig(up.endpoint, config=config) as served:
            reply = await served.ask("GET", "/comfyui/app.js")
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["message"]) == (
        409, "model comfyui_auto is not loaded; only /comfyui/ can start it",
    )  # fmt: skip


@pytest.mark.rule("H27")
def test_the_shape_of_an_error_to_the_byte() -> None:
    message = "a <b> & 'c' \"d\" \\ \u2028 \u2029 é \n \x01 \U0001f600"
    _, body = ErrorAnswer(400, message).render("")
    assert body == (
        b'{"src":"swapcli","error":{"message":"a \\u003cb\\u003e \\u0026 \'c\' \\"d\\" \\\\ \\u2028 \\u2029 '
        + "é".encode()
        + b" \\n \\u0001 "
        + "\U0001f600".encode()
        + b'","type":"invalid_request_error","param":null,"code":"bad_request"}}'
    )
