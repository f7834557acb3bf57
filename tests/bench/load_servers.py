"""The servers that loads go to, each a process of its own.

    python tests/bench/load_servers.py ROLE [--upstream PORT] [--port PORT]

- upstream: the server of a model, doing next to nothing;
- relay: our relay before it, leases and recording included, without the rest of the program; at a second port
  the same without recording, and at a third the route of ``quart``. All are in one process, for with the same
  code one process is up to a tenth faster than another, all its life;
- quart: a bare Quart-Trio route that makes up the upstream's answers itself;
- forward: a Quart-Trio route that has them from the upstream, in the fewest steps possible.

What is asked for is in the body: ``"do"`` is ``answer``, ``bulk`` (an answer of 8 MB), or ``stream`` (for
ever; with ``"pause"``, in seconds, between its events).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import attrs
from hypercorn.typing import ASGIFramework
from model_server import ANSWER, BULK, EVENT, serve_model, wanted
from served import free_port


def request(do: str, *, pause: float = 0.0, path: str = "/v1/completions") -> bytes:
    """The bytes of a request, on a connection that stays open."""
    body = json.dumps({"model": "m", "prompt": "word " * 40, "do": do, "pause": pause}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


# -- the servers ------------------------------------------------------------------


async def relay_server(upstream_port: int) -> None:
    import trio
    from unrecorded import Uncounted, Unrecorded

    from swapcli._recording import open_recorder, open_store
    from swapcli.config import Configuration, ModelConfig
    from swapcli.http import (
        NEWS,
        CurrentState,
        EventHub,
        FleetHistory,
        Measurements,
        UpstreamPool,
        create_app,
        tell,
    )
    from swapcore import Endpoint, ModelId, ModelSpec, open_supervisor

    endpoint = Endpoint(f"http://127.0.0.1:{upstream_port}")

    async def launch(spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        task_status.started(endpoint)  # it runs already: only the relay is measured, leases included
        await trio.sleep_forever()

    specs, config, hub = [ModelSpec(ModelId("m"))], Configuration(models={"m": ModelConfig()}), EventHub()
    pool, other_pool = UpstreamPool(), UpstreamPool()
    async with (
        open_supervisor(specs, launch=launch, on_stopping=pool.close) as supervisor,
        open_supervisor(specs, launch=launch, on_stopping=other_pool.close) as other,
        supervisor.events(*NEWS) as events,
        open_recorder(open_store(config), config, hub) as recorder,
        trio.open_nursery() as nursery,
    ):
        measured = Measurements.of(config.performance)
        state = CurrentState(hub, supervisor, config, active_profile=lambda: None)
        nursery.start_soon(tell, events, (state.take, FleetHistory().take, measured.metrics.take))
        nothing = Unrecorded(recorder.journal, recorder.inflight)
        uncounted = Measurements(measured.monitor, metrics=Uncounted(repr))
        await _serve(
            create_app(supervisor, config, pool, recorder=recorder, measurements=measured),
            create_app(other, config, other_pool, recorder=nothing, measurements=uncounted),
            quart_app(),
        )


async def _serve(*apps: ASGIFramework) -> None:
    """All applications are served in the same way: by our own server, with its limits and settings."""
    import trio

    from swapcli._garbage import collect_less_often
    from swapcli.http import Drain, serve_http

    collect_less_often()
    sockets = [socket.create_server(("127.0.0.1", 0), backlog=512) for _ in apps]
    for sock in sockets:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
    print(*(sock.getsockname()[1] for sock in sockets), flush=True)
    async with trio.open_nursery() as nursery:
        for app, sock in zip(apps, sockets, strict=True):
            nursery.start_soon(partial(serve_http, app, [sock], drain=Drain()))


def quart_app() -> ASGIFramework:
    import trio
    from quart import Response, request
    from quart_trio import QuartTrio

    app = QuartTrio(__name__)
    app.config["RESPONSE_TIMEOUT"] = None

    async def events(pause: float) -> AsyncGenerator[bytes]:
        while True:
            yield EVENT
            if pause:
                await trio.sleep(pause)

    @app.post("/v1/completions")
    async def completions() -> Response:
        do, pause = wanted(await request.body)
        if do != "stream":
            return Response(BULK if do == "bulk" else ANSWER, content_type="application/json")
        return app.response_class(events(pause), content_type="text/event-stream")

    return app


async def forwarding_server(upstream_port: int) -> None:
    """For one client at a time: it has one connection, and never looks whether it is open."""
    import trio
    from quart import Response, request
    from quart_trio import QuartTrio

    app = QuartTrio(__name__)
    stream = await trio.open_tcp_stream("127.0.0.1", upstream_port)

    @app.post("/v1/completions")
    async def completions() -> Response:
        body = await request.body
        head = b"POST /v1/completions HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n" % len(body)
        await stream.send_all(head + body)
        answer = b""
        while not answer.endswith(ANSWER):
            answer += await stream.receive_some(65536)
        return Response(answer.partition(b"\r\n\r\n")[2], content_type="application/json")

    await _serve(app)


# -- their processes ----------------------------------------------------------------


@attrs.frozen
class Running:
    """A server that runs."""

    port: int
    pid: int
    unrecorded_port: int = 0
    """Of the relay, without recording."""
    quart_port: int = 0
    """Of the route in the process of the relay."""

    def cpu_seconds(self) -> float:
        """What it has used so far."""
        return cpu_seconds(self.pid)


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(role: str, *, upstream: Running | None = None) -> Iterator[Running]:
    """Run one of the servers; it is gone after the block."""
    command = [sys.executable, __file__, role]
    if upstream is not None:
        command += ["--upstream", str(upstream.port)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            port, *others = map(int, process.stdout.readline().split())
            yield Running(port, process.pid, *others)
        finally:
            process.kill()


@attrs.frozen
class Model:
    """The upstream, as a model of a configuration."""

    port: int

    @classmethod
    def somewhere(cls) -> Model:
        """At a port of its own."""
        return cls(free_port())

    @property
    def command(self) -> str:
        return f"{sys.executable} {Path(__file__)} upstream --port {self.port}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def one_model() -> str:
    """A configuration with one model, ``m``, that takes as many requests at once as there are."""
    model = Model.somewhere()
    return f"models: {{m: {{cmd: {model.command}, proxy: '{model.url}', concurrencyLimit: 1000}}}}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("role", choices=("upstream", "relay", "quart", "forward"))
    parser.add_argument("--upstream", type=int)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.role == "upstream":
        asyncio.run(serve_model(options.port))
        return
    import trio

    match options.role:
        case "quart":
            trio.run(_serve, quart_app())
        case "forward":
            trio.run(forwarding_server, options.upstream)
        case _:
            trio.run(relay_server, options.upstream)


if __name__ == "__main__":
    main()
