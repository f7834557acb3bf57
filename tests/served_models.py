"""A real `swapcli serve` with real models, in a process of its own, for the outermost ring of tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
from real_children import Children, free_port
from time_taken import takes

from swapcli.demo.tiny_gguf import TinyModel, write_tiny_gguf

ENGINE = f"{sys.executable} -m swapcli llama-server --threads 1"


@attrs.frozen
class Server:
    """A running server. Everything it ever starts carries the mark of ``children``."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    children: Children

    def get(self, path: str, *, method: str = "GET") -> bytes:
        with urllib.request.urlopen(
            urllib.request.Request(self.url + path, method=method), timeout=30
        ) as answer:
            body: bytes = answer.read()
            return body

    def wait_for_log(self, text: str, *, times: int = 1, within: float = 20) -> None:
        deadline = time.monotonic() + within
        while self.log.read_text().count(text) < times:
            assert time.monotonic() < deadline, f"{text!r} not in:\n{self.log.read_text()}"
            time.sleep(0.01)  # another program's log file sends no events

    def wait_until_gone(self, *, within: float) -> None:
        """Wait until no process with the mark is left; fails if that `takes` longer than *within*."""
        deadline = time.monotonic() + 20
        with takes(most=within):
            while alive := self.children.alive():
                assert time.monotonic() < deadline, f"still alive: {alive}"
                time.sleep(0.005)  # processes that are not our children send no events


@contextmanager
def serving(
    config: Path,
    log: Path,
    *options: str,
    environ: Mapping[str, str] | None = None,
    program: Sequence[str] = ("-m", "swapcli"),
) -> Iterator[Server]:
    """Serve *config* on a free port; the server and its models are gone after the block.

    Args:
      options: more of them for `swapcli serve`.
      program: what the interpreter runs.
    """
    children = Children()
    url = f"http://127.0.0.1:{free_port()}"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [
                sys.executable,
                *program,
                "serve",
                "--config",
                str(config),
                "--listen",
                url[7:],
                *options,
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environ or {}), "TEST_MARK": children.mark},
        ) as process,
    ):
        server = Server(process, url, log, children)
        try:
            deadline = time.monotonic() + 30
            while "listening on" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.01)
            yield server
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    server.wait_until_gone(within=2)


def write_models(folder: Path) -> Path:
    """Write two models that chat and one that embeds, and a configuration for them; return its path."""
    for name in ("north", "south", "east"):
        write_tiny_gguf(TinyModel(name, stop=name != "south"), folder / f"{name}.gguf")
    lines = ["healthCheckTimeout: 30", "models:"]
    for name, flags in (("north", ""), ("south", ""), ("east", "--embeddings --pooling mean")):
        port = free_port()
        lines += [
            f"  {name}:",
            f"    cmd: {ENGINE} --model {folder / name}.gguf --port {port} {flags}",
            f"    proxy: http://127.0.0.1:{port}",
        ]
    config = folder / "config.yaml"
    config.write_text("\n".join([*lines, "    aliases: [embedder]", ""]))
    return config
