"""A server on the real supervisor, whose models are ready when the test says so."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from http_wire import (
    CHUNKED,
    END,
    JSON,
    PATIENCE,
    Answer,
    Client,
    Seen,
    Server,
    Upstream,
    chunk,
    request,
    serving,
    upstream,
)

from swapcli.activity.recorder import Recorder
from swapcli.config import Configuration, ModelConfig, to_specs
from swapcli.http import UpstreamPool, create_app
from swapcore import Endpoint, ModelId, ModelSpec, ProcState, Supervisor, open_supervisor

CHAT = "/v1/chat/completions"
ANSWER = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"},"finish_reason":null}]}\n\n'
    b"data: [DONE]\n\n"
)


class Broken(Exception):
    """The start of a model failed."""


@attrs.define(eq=False)
class Served:
    """A server with the real supervisor. A model is ready once the test says so."""

    server: Server
    supervisor: Supervisor
    up: Upstream
    arrived: list[tuple[str, float]]
    """The upstream's requests: the model's name, and when."""
    gates: dict[str, trio.Event] = attrs.field(factory=dict[str, trio.Event])
    broken: set[str] = attrs.field(factory=set[str])
    recorder: Recorder = attrs.field(factory=Recorder.unattended)

    def gate(self, model: str) -> trio.Event:
        return self.gates.setdefault(model, trio.Event())

    async def launch(self, spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        await self.gate(spec.id).wait()
        if spec.id in self.broken:
            raise Broken("no such file: model.gguf")
        task_status.started(self.up.endpoint)
        await trio.sleep_forever()

    async def ask(self, model: str = "m", *headers: str, path: str = CHAT, stream: Any = True) -> Client:
        client = await self.server.client()
        body = json.dumps({"model": model, "stream": stream}).encode()
        await client.send(request("POST", path, JSON, *headers, body=body))
        return client

    async def until_arrived(self, requests: int) -> None:
        """Wait until so many requests have come to the upstream."""
        with trio.fail_after(PATIENCE):
            while len(self.arrived) < requests:  # noqa: ASYNC110
                await trio.sleep(0.001)

    async def until_called(self, model: str, times: int) -> None:
        """Wait until the model has so many callers; nothing tells when one joins or leaves."""
        with trio.fail_after(PATIENCE):
            while self.supervisor.callers(ModelId(model)) != times:  # noqa: ASYNC110
                await trio.sleep(0.001)

    async def until_state(self, model: str, state: ProcState) -> None:
        """Wait until the model is in that state: what a caller leads to comes a moment after the caller."""
        with trio.fail_after(PATIENCE):
            while self.supervisor.state_of(ModelId(model)) is not state:  # noqa: ASYNC110
                await trio.sleep(0.001)


def streams(answer: bytes = CHUNKED + chunk(ANSWER) + END) -> Answer:
    async def respond(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(answer)

    return respond


@asynccontextmanager
async def served(
    models: Mapping[str, ModelConfig], answer: Answer | None = None, **keys: Any
) -> AsyncGenerator[Served]:
    """Serve models that exclude each other, all with the same upstream."""
    pool, arrived, respond = UpstreamPool(), list[tuple[str, float]](), answer or streams()

    async def note(seen: Seen, stream: trio.SocketStream) -> None:
        arrived.append((json.loads(seen.body)["model"] if seen.body else "", trio.current_time()))
        await respond(seen, stream)

    async with upstream(note) as up:
        proxied = {name: attrs.evolve(model, proxy=up.endpoint.url) for name, model in models.items()}
        config = Configuration(models=proxied, **keys)
        made = Served(Server(0, None), None, up, arrived)  # type: ignore[arg-type]
        specs = to_specs(config)
        async with open_supervisor(specs, launch=made.launch, on_stopping=pool.close) as supervisor:
            made.supervisor = supervisor
            app = create_app(supervisor, config, pool, recorder=made.recorder)
            async with serving(app) as server:
                made.server = server
                yield made
            pool.close_all()
