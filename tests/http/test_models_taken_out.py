"""A model that a request, or a page, still goes by, and that the supervisor does not know of any more.

So it is for an instant while a configuration is replaced, and to its end for a request from before that.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
from http_wire import JSON, Reply, Server, StubFleet, always, plain, request, serving, upstream

from swapcli.config import Configuration, ModelConfig, Selector
from swapcli.http import UpstreamPool, create_app
from swapcore import ModelId, ProcState, UnknownModel


@attrs.define(eq=False)
class Fleet(StubFleet):
    """Knows the models that have an endpoint, and no other."""

    def state_of(self, model: ModelId) -> ProcState:
        return super().state_of(self._known(model))

    def callers(self, model: ModelId) -> int:
        return super().callers(self._known(model))

    def _known(self, model: ModelId) -> ModelId:
        if model not in self.endpoints:
            raise UnknownModel(model)
        return model


@asynccontextmanager
async def replaced(selector: Selector | None = None) -> AsyncGenerator[Server]:
    """Serve ``gone`` and ``m``, of which the supervisor has ``m`` only."""
    config = Configuration(
        models={"gone": ModelConfig(), "m": ModelConfig()},
        selectors={} if selector is None else {"pick": selector},
    )
    pool = UpstreamPool()
    async with upstream(always(plain(b"fine"))) as up:
        fleet = Fleet({"m": up.endpoint}, states={"m": ProcState.READY})
        async with serving(create_app(fleet, config, pool)) as server:
            try:
                yield server
            finally:
                pool.close_all()


async def ask(server: Server, method: str, path: str, body: bytes | None = None) -> Reply:
    client = await server.client()
    await client.send(request(method, path, *([] if body is None else [JSON]), body=body))
    return await client.reply(method)


async def test_pages_show_the_others_and_that_it_does_not_run() -> None:
    async with replaced() as server:
        listed = await ask(server, "GET", "/v1/models")
        running = await ask(server, "GET", "/running")
    assert [model["id"] for model in json.loads(listed.body)["data"]] == ["gone", "m"]
    assert [model["model"] for model in json.loads(running.body)["running"]] == ["m"]


@pytest.mark.parametrize("strategy", ["warm", "spillover"])
async def test_selectors_choose_another_one(strategy: str) -> None:
    async with replaced(Selector(strategy, ("gone", "m"))) as server:
        reply = await ask(server, "POST", "/v1/completions", b'{"model":"pick"}')
    assert (reply.status, reply.body) == (200, b"fine")


async def test_a_selector_that_has_no_other_says_what_is_wrong() -> None:
    async with replaced(Selector("spillover", ("gone",))) as server:
        reply = await ask(server, "POST", "/v1/completions", b'{"model":"pick"}')
    assert reply.status in (404, 503)


async def test_a_path_of_it_is_not_there() -> None:
    async with replaced() as server:
        assert (await ask(server, "GET", "/upstream/gone/x")).status == 404
        assert (await ask(server, "GET", "/upstream/gone/favicon.ico")).status in (404, 409)
