"""What the relay costs, next to a bare Quart-Trio route that makes up the same answer itself.

    python tests/bench/relay_load.py [--seconds 4] [--rounds 3]

Prints four ratios, each the median of several rounds in which the two servers take turns:

- requests: requests per second of the relay, over those of the route (more is better);
- recording: requests per second of the relay, over those of one that records nothing (more is better);
- paced: CPU time per event of 64 event streams with an event every 25 ms, over that of a generator route
  that sleeps between its events (less is better);
- saturated: the same of 8 streams that never pause.

The server under test, the upstream and the client are processes of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hypercorn.typing import ASGIFramework

EVENT = (
    b'data: {"id":"x","object":"text_completion","choices":[{"index":0,"text":" nonsense","logprobs":0}]}\n\n'
)
PACE = 0.025
SATURATED_EVENTS = 20_000
ROLES = ("upstream", "relay", "unrecorded", "quart")
ANSWER = json.dumps({"id": "x", "choices": [{"text": "words " * 20}]}).encode()


# -- the three servers ------------------------------------------------------------


async def upstream() -> None:
    """Answers at once, or streams as the request's path says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                if b'"answer"' in body:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                    writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))
                    continue
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
                writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
                chunk = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
                if b'"paced"' in body:
                    while not writer.is_closing():
                        writer.write(chunk)
                        await asyncio.sleep(PACE)
                for _ in range(SATURATED_EVENTS):
                    writer.write(chunk)
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def relay_server(upstream_port: int, *, recording: bool = True) -> None:
    import trio
    from unrecorded import Unrecorded

    from swapcli._recording import open_recorder, open_store
    from swapcli.config import Configuration, ModelConfig
    from swapcli.http import EventHub, UpstreamPool, create_app
    from swapcore import Endpoint, ModelId, ModelSpec, open_supervisor

    endpoint = Endpoint(f"http://127.0.0.1:{upstream_port}")

    async def launch(spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        task_status.started(endpoint)  # it runs already: only the relay is measured, leases included
        await trio.sleep_forever()

    pool = UpstreamPool()
    specs, config = [ModelSpec(ModelId("m"))], Configuration(models={"m": ModelConfig()})
    async with (
        open_supervisor(specs, launch=launch, on_stopping=pool.close) as supervisor,
        open_recorder(open_store(config), config, EventHub()) as recorder,
    ):
        recorder = recorder if recording else Unrecorded(recorder.journal, recorder.inflight)
        await _serve(create_app(supervisor, config, pool, recorder=recorder))


async def _serve(app: ASGIFramework) -> None:
    """Both applications are served in the same way: by our own server, with our own limits."""
    from swapcli.http import Drain, serve_http

    sock = socket.create_server(("127.0.0.1", 0), backlog=512)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    print(sock.getsockname()[1], flush=True)
    await serve_http(app, [sock], drain=Drain())


async def quart_server() -> None:
    import trio
    from quart import Response, request
    from quart_trio import QuartTrio

    app = QuartTrio(__name__)
    app.config["RESPONSE_TIMEOUT"] = None

    async def events(pace: float, count: int) -> AsyncGenerator[bytes]:
        for _ in range(count):
            yield EVENT
            if pace:
                await trio.sleep(pace)

    @app.post("/v1/completions")
    async def completions() -> Response:
        body = await request.get_data()
        if b'"answer"' in body:
            return Response(ANSWER, content_type="application/json")
        is_paced = b'"paced"' in body
        stream = events(PACE, 10**9) if is_paced else events(0, SATURATED_EVENTS)
        return app.response_class(stream, content_type="text/event-stream")

    await _serve(app)


# -- the client -------------------------------------------------------------------


def _request(mode: str) -> bytes:
    body = b'{"model":"m","prompt":"' + b"word " * 40 + b'","mode":"%b"}' % mode.encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class _Client(asyncio.Protocol):
    """Sends the next request when the answer is complete, or counts the events of one that never is."""

    def __init__(self, request: bytes, marker: bytes) -> None:
        self.request, self.marker = request, marker
        self.count, self.ended, self.tail = 0, asyncio.Event(), b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        data = self.tail + data
        found = data.count(self.marker)
        self.tail = data[-(len(self.marker) - 1) :] if not data.endswith(self.marker) else b""
        self.count += found
        if found and self.marker == ANSWER and self.transport is not None:
            self.transport.write(self.request)
        if data.endswith(b"\r\n0\r\n\r\n"):
            self.ended.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


async def _load(port: int, pid: int, mode: str, seconds: float) -> tuple[float, float]:
    """Return answers or events per second, and CPU seconds of the server for each."""
    connections = {"answer": 16, "paced": 64, "flood": 8}[mode]
    marker = ANSWER if mode == "answer" else b"data: "
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: _Client(_request(mode), marker), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    if mode != "flood":
        await asyncio.sleep(0.5)  # the beginning is not measured
    before, cpu, started = sum(each.count for each in clients), _cpu_seconds(pid), time.monotonic()
    if mode == "flood":
        await asyncio.gather(*(each.ended.wait() for each in clients))
    else:
        await asyncio.sleep(seconds)
    count = sum(each.count for each in clients) - before
    rate, cost = count / (time.monotonic() - started), (_cpu_seconds(pid) - cpu) / max(count, 1)
    for each in clients:
        if each.transport is not None:
            each.transport.abort()
    return rate, cost


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _process(*arguments: str) -> Iterator[tuple[int, int]]:
    """Run one of the servers; gives its port and process id."""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, __file__, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()


def ratios_to_quart(seconds: float, rounds: int) -> dict[str, float]:
    """Return the four ratios."""
    ratios: dict[str, float] = {}
    with (
        _process("--role", "upstream") as (upstream_port, _),
        _process("--role", "relay", "--upstream", str(upstream_port)) as relay,
        _process("--role", "unrecorded", "--upstream", str(upstream_port)) as unrecorded,
        _process("--role", "quart") as quart,
    ):
        for name, mode, other in (
            ("requests", "answer", quart),
            ("recording", "answer", unrecorded),
            ("paced", "paced", quart),
            ("saturated", "flood", quart),
        ):
            results = [
                [asyncio.run(_load(*server, mode, seconds)) for server in (relay, other)]
                for _ in range(rounds)
            ]
            index = 0 if mode == "answer" else 1
            ratios[name] = statistics.median(ours[index] / theirs[index] for ours, theirs in results)
            for which, (rate, cost) in zip(("relay", "other"), results[-1], strict=True):
                print(
                    f"  {name:10} {which:6} {rate:9.0f} per second, {cost * 1e6:7.1f} us CPU each",
                    file=sys.stderr,
                )
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    match options.role:
        case "upstream":
            asyncio.run(upstream())
        case "relay":
            import trio

            trio.run(relay_server, options.upstream)
        case "unrecorded":
            import trio

            trio.run(partial(relay_server, options.upstream, recording=False))
        case "quart":
            import trio

            trio.run(quart_server)
        case _:
            for name, ratio in ratios_to_quart(options.seconds, options.rounds).items():
                print(f"{name:10} {ratio:6.2f}")


if __name__ == "__main__":
    main()
