"""A configuration that changes all the time under streams and requests, none of which may notice.

Part of ``make test`` for a few seconds, and of ``make soak`` as long as it takes:

    python tests/reload_under_load.py [--edits 100] [--streams 20] [--rate 50]
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import signal
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import attrs
import trio

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from free_ports import free_port, free_ports  # noqa: E402
from http_wire import JSON, Client, CutOff, request  # noqa: E402
from served_models import Server, serving  # noqa: E402

MODEL = """
import http.server, os, sys, time
class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self): self.answer(b"ok")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if b'"stream"' not in body: return self.answer(b"%d" % os.getpid())
        self.send_response(200); self.send_header("Transfer-Encoding", "chunked"); self.end_headers()
        for _ in range(20):
            self.wfile.write(b"2\\r\\nx\\n\\r\\n"); time.sleep(0.02)
        self.wfile.write(b"%x\\r\\n%d\\r\\n0\\r\\n\\r\\n" % (len(str(os.getpid())), os.getpid()))
    def answer(self, body):
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
print("a model at", sys.argv[1], flush=True)
Server(("127.0.0.1", int(sys.argv[1])), Model).serve_forever()
"""
STEADY, EDITED, MOVED = "steady", "edited", "moved"
MODELS = (STEADY, EDITED, MOVED)


@attrs.define(eq=False)
class Sources:
    """The configuration file, and how it is edited."""

    folder: Path
    number: int = 1
    argument: int = 0
    port: int = attrs.field(factory=free_port)
    start_port: int = attrs.field(factory=lambda: free_ports(len(MODELS)))

    @property
    def file(self) -> Path:
        return self.folder / "config.yaml"

    def text(self) -> str:
        model = f"{sys.executable} -S {self.folder / 'model.py'}"
        return (
            f"# edit {self.number}\n"
            f"startPort: {self.start_port}\n"
            "unloadTimeout: 3\n"
            "groups: {all: {swap: false, exclusive: false, members: [steady, edited, moved]}}\n"
            "models:\n"
            # The first in byte order comes and goes, and would take the others' ports along if it could.
            + (f"  a-guest: {{cmd: '{model} ${{PORT}}'}}\n" if self.number % 3 == 0 else "")
            + f"  {STEADY}: {{cmd: '{model} ${{PORT}}'}}\n"
            f"  {EDITED}: {{cmd: '{model} ${{PORT}} {self.argument}'}}\n"
            f"  {MOVED}: {{cmd: '{model} {self.port}', proxy: 'http://127.0.0.1:{self.port}'}}\n"
        )

    def write(self, text: str | None = None) -> None:
        new = self.folder / "config.new"
        new.write_text(self.text() if text is None else text)
        new.rename(self.file)

    def edit(self, kind: str) -> None:
        self.number += 1
        match kind:
            case "comment":
                self.write()
            case "argument":
                self.argument += 1
                self.write()
            case "port":
                self.port = free_port()
                self.write()
            case _:
                self.write(self.text() + "  broken: [\n")


@attrs.define(eq=False)
class Report:
    """What happened to the requests."""

    answered: int = 0
    failures: list[str] = attrs.field(factory=list[str])
    pids: dict[str, set[int]] = attrs.field(factory=lambda: {model: set() for model in MODELS})
    edits: Counter[str] = attrs.field(factory=Counter[str])

    async def ask(self, server: Server, model: str, *, stream: bool) -> None:
        """Ask once, on a connection of its own, and note what came."""
        host, _, port = server.url.removeprefix("http://").partition(":")
        connection = await trio.open_tcp_stream(host, int(port))
        body = json.dumps({"model": model, **({"stream": True} if stream else {})}).encode()
        try:
            with trio.fail_after(30):
                await connection.send_all(request("POST", "/v1/chat/completions", JSON, body=body))
                client = Client(connection)
                head = await client.head("POST")
                content = await client.rest_of_body()
            if head.status != 200:
                self.failures.append(f"{model}: {head.status} {content!r}")
            else:
                self.answered += 1
                self.pids[model].add(int(content.split()[-1]))
        except (CutOff, OSError, trio.TooSlowError, trio.BrokenResourceError) as error:
            self.failures.append(f"{model}: {error!r}")
        finally:
            connection.socket.close()


async def run(
    server: Server, sources: Sources, *, edits: int, streams: int, rate: float, every: float, hup: bool
) -> Report:
    """Edit *edits* times, one each *every* seconds, under *streams* streams and *rate* requests a second."""
    report, rng = Report(), random.Random(edits)
    async with trio.open_nursery() as nursery:
        over = False
        models = itertools.cycle(MODELS)

        async def stream(model: str) -> None:
            while not over:
                await report.ask(server, model, stream=True)

        async def requests() -> None:
            while not over:
                nursery.start_soon(partial(report.ask, server, next(models), stream=False))
                await trio.sleep(1 / rate)

        for model in MODELS:
            await report.ask(server, model, stream=False)
        for _ in range(streams):
            nursery.start_soon(stream, next(models))
        nursery.start_soon(requests)
        for _ in range(edits):
            kind = rng.choice(("comment", "argument", "port", "invalid"))
            report.edits[kind] += 1
            sources.edit(kind)
            if hup:
                server.process.send_signal(signal.SIGHUP)
            await trio.sleep(every)
        over = True
    for model in MODELS:
        await report.ask(server, model, stream=False)
    return report


def check(report: Report) -> None:
    """Nobody noticed anything, and only what was edited was restarted."""
    assert not report.failures, (
        f"{len(report.failures)} failed, {report.answered} did not: {report.failures[:5]}"
    )
    assert len(report.pids[STEADY]) == 1, f"a model that nobody edited was restarted: {report.pids}"
    for model, kind in ((EDITED, "argument"), (MOVED, "port")):
        assert len(report.pids[model]) <= report.edits[kind] + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=100)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--rate", type=float, default=50)
    options = parser.parse_args()
    load = {"edits": options.edits, "streams": options.streams, "rate": options.rate}
    for name, flags, hup in (
        ("SIGHUP", (), True),
        ("a look every 0.5 s", ("--watch-config", "--watch-interval", "0.5"), False),
    ):
        with tempfile.TemporaryDirectory() as folder:
            sources = prepared(Path(folder))
            with serving(sources.file, Path(folder) / "log", *flags) as server:
                report = trio.run(partial(run, server, sources, **load, every=0.6, hup=hup))
            check(report)
            restarts = {model: len(pids) - 1 for model, pids in report.pids.items()}
            print(
                f"{name}: {options.edits} edits {dict(report.edits)}, {report.answered} requests, 0 failed, "
                f"restarts {restarts}"
            )


def prepared(folder: Path) -> Sources:
    """A configuration and its model in *folder*."""
    (folder / "model.py").write_text(MODEL)
    sources = Sources(folder)
    sources.write()
    return sources


if __name__ == "__main__":
    main()
