"""Requests that take long to look at are looked at beside the event loop, whatever a client makes of them."""

from __future__ import annotations

import json

import pytest
from http_wire import JSON, always, plain, request, rig, upstream

from swapcli.config import Configuration, ModelConfig, ModelFilters
from swapcli.http.destinations import Asking, Destinations
from swapcli.http.model_name import AT_ONCE, Asked, identify, identify_at_once

FORM = "application/x-www-form-urlencoded"
LONG = 2 * AT_ONCE
MANY = b"a=1&" * LONG
ODD = {
    "a name that is there twice": b'{"model":"m","a":{"model":1},%b"z":1}' % (b'"a":1,' * (LONG // 6)),
    "a name that is spelt": b'{"mode\\u006c":"m",%b"z":1}' % (b'"a":1,' * (LONG // 6)),
    "what nests too deep": b'{"x":%b%b,"model":"m"}' % (b"[" * LONG, b"]" * LONG),
    "no document": b'{"model":"m",' + b'"a":1,' * (LONG // 6),
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_what_the_decoder_does_not_take_is_for_a_thread(body: bytes) -> None:
    assert identify_at_once("POST", b"", "application/json", body) is None
    assert identify("POST", b"", "application/json", body).model == "m"


@pytest.mark.parametrize(
    ("query", "kind", "body"),
    [
        (b"a=1&" * LONG, "text/plain", b""),
        (b"", FORM, b"a=1&" * LONG),
        (b"a=1&" * LONG, "application/json", b"{}"),
    ],
)
def test_so_are_long_forms_and_queries(query: bytes, kind: str, body: bytes) -> None:
    assert identify_at_once("POST", query, kind, body) is None


def test_an_ordinary_conversation_is_not() -> None:
    body = json.dumps({"model": "m", "stream": True, "messages": [{"content": "x" * LONG}] * 4}).encode()
    assert identify_at_once("POST", b"", "application/json", body) == Asked("m", True)
    assert identify_at_once("POST", b"", "application/json", b'{"model":"m","model":1}') == Asked("m", False)


def test_only_what_is_edited_takes_long() -> None:
    config = Configuration(
        models={"plain": ModelConfig(), "edits": ModelConfig(filters=ModelFilters(set_params={"a": 1}))},
    )
    destinations = Destinations.of(config)
    found = {}
    for name in config.models:
        target = destinations.target(name)
        assert target is not None
        for size in (AT_ONCE - 100, LONG):
            asking = Asking("POST", b"", "application/json", b"x" * size, name)
            found[name, size > AT_ONCE] = destinations.takes_long(asking, target)
    assert found == {
        ("plain", False): False,
        ("plain", True): False,
        ("edits", False): False,
        ("edits", True): True,
    }


@pytest.mark.parametrize("body", list(ODD.values())[:3], ids=list(ODD)[:3])
async def test_a_request_that_was_looked_at_in_a_thread_is_relayed_as_it_is(body: bytes) -> None:
    async with upstream(always(plain(b"fine"))) as up, rig(up.endpoint) as served:
        client = await served.server.client()
        await client.send(request("POST", "/v1/completions", JSON, body=body))
        assert (await client.reply("POST")).body == b"fine"
        assert up.seen[0].body == body
