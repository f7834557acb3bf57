"""Every error that this server makes: status, code, shape, and what a client is told to do about it."""

from __future__ import annotations

import json

import attrs
import pytest
from http_wire import JSON, StubFleet, always, plain, rig, upstream

from swapcli.config import Configuration, ModelConfig
from swapcli.http.error_answers import ErrorAnswer, of_failure
from swapcore import (
    BackingOff,
    Closed,
    GaveUp,
    ModelId,
    Overloaded,
    Pinned,
    PlannerFailed,
    ProcState,
    Refused,
    StartFailed,
    StartTimeout,
    Unloaded,
)

M = ModelId("m")


def start_failed() -> StartFailed:
    error = StartFailed(M, "the process ended with status 1 before it was ready")
    error.add_note("last output:\n" + "\n".join(f"line {number}" for number in range(20)))
    return error


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after", "may_retry"),
    [
        (start_failed(), 502, "start_failed", None, False),
        (StartTimeout(M, "not ready after 120 s"), 504, "start_timeout", None, False),
        (Unloaded(M, "unloaded"), 503, "unloaded", "1", True),
        (Closed(), 503, "shutting_down", "5", True),
        (Overloaded(M, "256 callers wait already"), 429, "queue_full", "1", True),
        (BackingOff(M, "3 failed starts", 1.2), 503, "model_backing_off", "2", True),
        (BackingOff(M, "it ended", None), 503, "model_backing_off", None, False),
        (Pinned(M, "big is pinned"), 409, "all_pinned", None, False),
        (Refused(M, "24 GB are more than there are"), 409, "refused", None, False),
        (PlannerFailed(M, "evictions raised ZeroDivisionError"), 500, "planner_failed", None, False),
        (GaveUp(M, "not served within 5 s"), 504, "deadline_exceeded", None, False),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.rule("L166")
async def test_g36_what_the_supervisor_raises(
    error: Exception, status: int, code: str, retry_after: str | None, may_retry: bool
) -> None:
    async with rig() as served:
        served.fleet.failures["m"] = [error]
        client = await served.server.client()
        reply = await client.ask("POST", "/v1/chat/completions", JSON, body=b'{"model":"m"}')
        assert (await client.ask("GET", "/health")).status == 200, "the connection goes on"
    body = json.loads(reply.body)
    assert reply.status == status
    assert body["src"] == "swapcli"
    assert body["error"]["code"] == code
    assert list(body["error"]) == ["message", "type", "param", "code"]
    assert reply.values("retry-after") == ([retry_after] if retry_after else [])
    assert reply.values("x-should-retry") == ([] if may_retry else ["false"])
    assert str(error) in body["error"]["message"]


@pytest.mark.parametrize("config", [ModelConfig(), ModelConfig(concurrency_limit=1)], ids=["line", "limit"])
@pytest.mark.parametrize(("seconds", "told"), [(None, "1"), (0.2, "1"), (7.2, "8")])
async def test_g30_who_is_turned_away_is_told_when_there_may_be_a_place(
    config: ModelConfig, seconds: float | None, told: str
) -> None:
    async with rig(config=Configuration(models={"m": config})) as served:
        served.fleet.failures["m"] = [Overloaded(M, "256 callers wait already", seconds)]
        reply = await served.chat()
    assert (reply.status, reply["retry-after"]) == (429, told)


async def test_a_failed_start_says_what_the_process_wrote_last() -> None:
    async with rig() as served:
        served.fleet.failures["m"] = [start_failed()]
        reply = await served.chat()
    message = json.loads(reply.body)["error"]["message"]
    assert message.startswith(
        "m: the process ended with status 1 before it was ready; its last output:\nline 15\n"
    )
    assert message.endswith("\nline 19")


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("exited with status 1; its last output: no memory", "m: exited with status 1; its last output:\n"),
        ("wrote; its last output: another", "m: wrote; its last output: another; its last output:\n"),
    ],
)
def test_the_last_line_is_not_said_twice(reason: str, said: str) -> None:
    error = StartFailed(M, reason)
    error.add_note("last output:\nloading\n  no memory for it\n")
    assert of_failure(error).message == f"{said}loading\n  no memory for it"


@pytest.mark.rule("L69", "L76")
async def test_h29_the_concurrency_limit_speaks_json_whatever_is_accepted() -> None:
    config = Configuration(models={"m": ModelConfig(concurrency_limit=1)})
    async with rig(config=config) as served:
        served.fleet.failures["m"] = [Overloaded(M, "1 caller is there already")]
        reply = await served.chat(b'{"model":"m"}', "Accept: text/plain")
    assert (reply.status, reply["content-type"], reply["retry-after"]) == (429, "application/json", "1")
    assert json.loads(reply.body)["error"] == {
        "message": "Too many requests", "type": "rate_limit_error", "param": None,
        "code": "concurrency_limit",
    }  # fmt: skip


@pytest.mark.rule("L64")
async def test_an_unknown_model_is_a_404() -> None:
    async with rig() as served:
        reply = await served.chat(b'{"model":"other"}')
    assert reply.status == 404
    assert reply.body == (
        b'{"src":"swapcli","error":{"message":"no router for requested model",'
        b'"type":"invalid_request_error","param":null,"code":"not_found"}}'
    )


@pytest.mark.parametrize(
    ("accept", "content_type", "body"),
    [
        ("application/json, text/plain, */*", "text/plain", b"swapcli: a <b> & 'c' \"d\""),
        (
            "text/html,*/*",
            "text/html",
            b"<html><body><h1>swapcli</h1><p>a &lt;b&gt; &amp; &#39;c&#39; &#34;d&#34;</p></body></html>",
        ),
        ("TEXT/PLAIN", "application/json", b""),
        ("", "application/json", b""),
    ],
)
@pytest.mark.rule("L165")
def test_h26_the_accept_header_chooses(accept: str, content_type: str, body: bytes) -> None:
    headers, rendered = ErrorAnswer(404, "a <b> & 'c' \"d\"").render(accept)
    assert dict(headers)[b"Content-Type"] == content_type.encode()
    if body:
        assert rendered == body
    else:
        assert b'"message":"a \\u003cb\\u003e \\u0026 \'c\' \\"d\\""' in rendered


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "invalid_request_error", "bad_request"),
        (401, "authentication_error", "unauthorized"),
        (403, "authentication_error", "forbidden"),
        (404, "invalid_request_error", "not_found"),
        (409, "invalid_request_error", "conflict"),
        (413, "invalid_request_error", "invalid_request"),
        (429, "rate_limit_error", "rate_limit_exceeded"),
        (500, "server_error", "internal_error"),
        (502, "server_error", "bad_gateway"),
        (503, "server_error", "service_unavailable"),
        (504, "server_error", "gateway_timeout"),
        (507, "server_error", "internal_error"),
    ],
)
@pytest.mark.rule("L165")
def test_h28_type_and_code(status: int, kind: str, code: str) -> None:
    error = json.loads(ErrorAnswer(status, "x").render("")[1])["error"]
    assert (error["type"], error["code"]) == (kind, code)


async def test_a_mistake_of_ours_is_an_error_of_ours(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> ProcState:
        raise ZeroDivisionError

    monkeypatch.setattr(StubFleet, "state_of", fail)
    async with rig(config=Configuration(models={"m": ModelConfig()})) as served:
        for path in ("/running", "/v1/models"):
            reply = await served.ask("GET", path)
            error = json.loads(reply.body)
            assert (reply.status, error["src"], error["error"]["code"]) == (500, "swapcli", "internal_error")
            assert (await served.ask("GET", path, "Accept: text/plain")).body.startswith(b"swapcli: internal")
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("path", ["/v1/messages", "/v/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [(start_failed(), "api_error"), (Closed(), "overloaded_error"), (Overloaded(M, "x"), "rate_limit_error")],
)
async def test_anthropics_clients_get_their_own_shape(path: str, error: Exception, kind: str) -> None:
    async with rig() as served:
        served.fleet.failures["m"] = [error]
        reply = await served.ask("POST", path, JSON, body=b'{"model":"m"}')
    body = json.loads(reply.body)
    assert body["type"] == "error"
    assert body["src"] == "swapcli"
    assert body["error"]["type"] == kind
    assert str(error) in body["error"]["message"]


# -- keys -------------------------------------------------------------------------------

KEYS = Configuration(models={"m": ModelConfig()}, api_keys=("secret", "ключ"))
OTHER = "ключ".encode().decode("latin-1")
"""As `request` writes it: headers are bytes, and these mean UTF-8."""


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("Authorization: Bearer secret", True),
        ("Authorization: bearer secret", True),
        ("Authorization: Bearer  secret", False),
        ("Authorization: Bearer wrong\r\nX-Api-Key: secret", False),
        ("Authorization: Basic dXNlcjpzZWNyZXQ=", True),
        ("Authorization: BASIC OnNlY3JldA==", True),
        (f"Authorization: Bearer {OTHER}", True),
        (f"X-Api-Key: {OTHER}", True),
        ("Authorization: Basic OtC60LvRjtGH", True),
        ("Authorization: Basic Ov8=", False),
        ("Authorization: Basic !!!\r\nX-Api-Key: secret", True),
        ("Authorization: Basic dXNlcg==\r\nX-Api-Key: secret", True),
        ("Authorization: Digest secret\r\nX-Api-Key: secret", True),
        ("Authorization: secret", False),
        ("X-Api-Key: secret", True),
        ("X-Api-Key: Secret", False),
        ("Api-Key: secret", False),
        ("Cookie: key=secret", False),
    ],
)
async def test_h21_h22_which_key_counts(header: str, allowed: bool) -> None:
    async with upstream(always(plain(b"x"))) as up, rig(up.endpoint, config=KEYS) as served:
        client = await served.server.client()
        reply = await client.ask(
            "POST", "/v1/completions", JSON, *header.split("\r\n"), body=b'{"model":"m"}'
        )
        assert reply.status == (200 if allowed else 401)
        assert len(up.seen) == allowed


async def test_a_key_from_an_environment_that_is_no_utf8_counts_byte_by_byte() -> None:
    config = attrs.evolve(KEYS, api_keys=(b"k\xff".decode("utf-8", "surrogateescape"),))
    async with rig(config=config) as served:
        for header, status in (("X-Api-Key: k\xff", 200), ("X-Api-Key: k", 401)):
            assert (await served.ask("GET", "/v1/models", header)).status == status


async def test_h24_no_key() -> None:
    async with rig(config=KEYS) as served:
        reply = await served.ask("GET", "/v1/models")
    assert (reply.status, reply["www-authenticate"]) == (401, 'Basic realm="swapcli"')
    assert json.loads(reply.body)["error"] == {
        "message": "unauthorized: invalid or missing API key", "type": "authentication_error",
        "param": None, "code": "unauthorized",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "status"), [("/health", 200), ("/wol-health", 200), ("/", 302), ("/nope", 404), ("//", 307)]
)
async def test_h23_no_key_is_needed(path: str, status: int) -> None:
    async with rig(config=KEYS) as served:
        assert (await served.ask("GET", path)).status == status
