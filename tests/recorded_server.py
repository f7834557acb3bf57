"""A server whose record of requests can be asked for, with an upstream that answers as told."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from http_wire import (
    PATIENCE,
    Answer,
    Reply,
    Rig,
    Seen,
    StubFleet,
    plain,
    serving,
    upstream,
)

from swapcli._recording import open_recorder, open_store
from swapcli.activity.recorder import Recorder
from swapcli.config import Configuration, ModelConfig
from swapcli.http import CurrentState, EventHub, Live, Measurements, UpstreamPool, create_app
from swapcli.logs import ServerLogs

USAGE = b'{"usage":{"prompt_tokens":4,"completion_tokens":2}}'
ANSWER = plain(USAGE, "Content-Type: application/json")


@attrs.define(eq=False)
class Recorded(Rig):
    """A server with a record."""

    recorder: Recorder

    async def rows(self, query: str = "") -> list[dict[str, Any]]:
        """The record, newest first."""
        reply = await self.ask("GET", "/api/metrics/activity" + query)
        assert reply.status == 200, reply.body
        found: list[dict[str, Any]] = json.loads(reply.body)["data"]
        return found

    async def row(self) -> dict[str, Any]:
        """The only record there is."""
        await self.until_idle()
        (row,) = await self.rows()
        return row

    async def until_idle(self) -> None:
        """Wait until no request to a model is under way: its client may see the end a moment sooner."""
        with trio.fail_after(PATIENCE):
            while len(self.recorder.inflight):  # noqa: ASYNC110 - the end of a request sends no event
                await trio.sleep(0.001)

    async def entry(self) -> dict[str, Any]:
        """The only request under way, once there is one."""
        with trio.fail_after(PATIENCE):
            while not len(self.recorder.inflight):  # noqa: ASYNC110 - the same
                await trio.sleep(0.001)
        (entry,) = self.recorder.inflight.snapshot()
        return entry

    async def cancel(self, id: str) -> Reply:
        return await self.ask("POST", f"/api/inflight/{id}/cancel")


@asynccontextmanager
async def recorded(answer: Answer, *, config: Configuration | None = None) -> AsyncGenerator[Recorded]:
    """Serve the model ``m``, alias ``em``, which answers as told."""
    config = config or Configuration(models={"m": ModelConfig()}, aliases={"em": "m"}, capture_buffer=1)
    pool, hub = UpstreamPool(), EventHub()
    async with upstream(answer) as model:
        fleet = StubFleet(dict.fromkeys(config.models, model.endpoint))
        live = Live(ServerLogs.unprinted(), CurrentState(hub, fleet, config), trio.Event())
        async with open_recorder(open_store(config), config, hub) as recorder:
            live.state.requests_in_flight = recorder.inflight.snapshot
            measured = Measurements.of(config.performance)
            app = create_app(fleet, config, pool, live=live, recorder=recorder, measurements=measured)
            async with serving(app) as server:
                try:
                    yield Recorded(server, pool, fleet, live, measured, recorder)
                finally:
                    pool.close_all()


@attrs.define(eq=False)
class Held:
    """An upstream that answers when it is told to."""

    asked: trio.Event = attrs.field(factory=trio.Event)
    go_on: trio.Event = attrs.field(factory=trio.Event)
    begin: bytes = b""
    """Sent at once."""
    end: bytes = ANSWER

    async def __call__(self, seen: Seen, stream: trio.SocketStream) -> None:
        if self.begin:
            await stream.send_all(self.begin)
        self.asked.set()
        await self.go_on.wait()
        await stream.send_all(self.end)
