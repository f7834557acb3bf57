"""The OpenAPI document is valid, describes every route, and what the server answers fits it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from http_wire import always, plain, rig, upstream
from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from swapcli.config import Configuration, ModelConfig, Profile
from swapcli.http import ROUTES
from swapcli.http.openapi import openapi_document
from swapcli.http.openapi_descriptions import DESCRIBED
from swapcore import Endpoint

DOCUMENT = json.loads(json.dumps(openapi_document(ROUTES, version="1", has_keys=True)))
OPERATIONS = {
    (method.upper(), path): operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


@pytest.mark.parametrize("keys", [True, False])
def test_it_is_valid(keys: bool) -> None:
    document = json.loads(json.dumps(openapi_document(ROUTES, version="1", has_keys=keys)))
    validate(document, cls=OpenAPIV31SpecValidator)
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(ids) == len(set(ids))


def test_every_route_is_in_it_and_nothing_else() -> None:
    expected = set()
    for route in ROUTES:
        methods = (
            ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") if route.method == "any" else (route.method,)
        )
        expected |= {(method, route.pattern.replace("...", "")) for method in methods}
    assert set(OPERATIONS) == expected


def test_every_route_of_ours_has_its_own_words() -> None:
    ours = {(route.method, route.pattern) for route in ROUTES if route.is_ours and not route.passthrough}
    assert set(DESCRIBED) == ours


def test_it_says_where_a_key_is_needed() -> None:
    for route in ROUTES:
        method = "GET" if route.method == "any" else route.method
        security = OPERATIONS[method, route.pattern.replace("...", "")]["security"]
        assert bool(security) is route.needs_key


JSON_PAGES = sorted(
    (method, path)
    for (method, path), operation in OPERATIONS.items()
    for response in operation["responses"].values()
    if "application/json" in response.get("content", ()) and method == "GET" and "{id}" not in path
)


@pytest.mark.parametrize(("method", "path"), JSON_PAGES, ids=lambda part: part)
async def test_answers_fit_it(method: str, path: str) -> None:
    config = Configuration(
        models={"m": ModelConfig(name="M")}, profiles={"p": Profile("For work.", {"gpt": "m"})}
    )
    async with rig(Endpoint("http://127.0.0.1:1"), config=config) as served:
        await served.measured.hardware.take()
        reply = await served.ask(method, path)
    assert reply.status == 200
    _check(json.loads(reply.body), OPERATIONS[method, path]["responses"]["200"])


async def test_actions_and_errors_fit_it() -> None:
    config = Configuration(models={"m": ModelConfig()}, profiles={"p": Profile()})
    async with upstream(always(plain(b"ok"))) as up, rig(up.endpoint, config=config) as served:
        for method, path, concrete in (
            ("POST", "/api/models/load/{rest}", "/api/models/load/m"),
            ("POST", "/api/models/unload", "/api/models/unload"),
            ("PUT", "/api/models/pin/{rest}", "/api/models/pin/m"),
            ("DELETE", "/api/models/pin/{rest}", "/api/models/pin/m"),
        ):
            reply = await served.ask(method, concrete)
            assert reply.status == 200
            _check(json.loads(reply.body), OPERATIONS[method, path]["responses"]["200"])
        active = await served.ask("PUT", "/api/profiles/active", body=b'{"name":"p"}')
        _check(json.loads(active.body), OPERATIONS["PUT", "/api/profiles/active"]["responses"]["200"])
        wrong = await served.ask("POST", "/api/models/load/nobody")
        assert wrong.status == 404
        _check(json.loads(wrong.body), DOCUMENT["components"]["responses"]["Error"])


def test_what_does_not_fit_is_noticed() -> None:
    for answer in ({}, {"object": "list", "data": [{"id": "m"}]}):
        with pytest.raises(ValidationError):
            _check(answer, OPERATIONS["GET", "/v1/models"]["responses"]["200"])


def _check(answer: Any, response: Any) -> None:
    schema = response["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(answer)
