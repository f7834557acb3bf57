"""`swapcli llama-server` as a child process: a real engine, with real tiny models."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from real_children import free_port
from time_taken import takes

import swapcli
from swapcli.demo.tiny_gguf import TinyModel, write_tiny_gguf

_COMMAND = (sys.executable, "-m", "swapcli", "llama-server")
_ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(swapcli.__file__).parent.parent)}
_TIMEOUT = 20.0


@attrs.frozen
class Engine:
    """A running `llama-server`."""

    process: subprocess.Popen[str]
    port: int

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Status and body (parsed, if it is JSON) of a GET, or of a POST when there is a ``body``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT)
        try:
            method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            text = response.read().decode()
            is_json = "json" in response.headers.get("Content-Type", "")
            return response.status, json.loads(text) if is_json else text
        finally:
            connection.close()

    def say(self, **parameters: object) -> str:
        """What it answers to a chat question."""
        body = {"messages": [{"role": "user", "content": "Who are you?"}], "temperature": 0, **parameters}
        status, answer = self.ask("/v1/chat/completions", body)
        assert status == 200, answer
        return str(answer["choices"][0]["message"]["content"])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(_TIMEOUT)


@contextmanager
def _running(model: Path, *flags: str, log: Path) -> Iterator[Engine]:
    """An engine that has loaded its model, on a port of its own choice."""
    command = (*_COMMAND, "-m", str(model), "--port", "0", "-t", "1", "-np", "2", *flags)
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=_ENVIRONMENT
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()  # it comes, or the output ends with the process
            assert line.startswith("listening on http://127.0.0.1:"), log.read_text()
            yield Engine(process, int(line.rpartition(":")[2]))
        finally:
            process.kill()
            process.wait(_TIMEOUT)


def _fails(*flags: str, environment: dict[str, str] = _ENVIRONMENT) -> subprocess.CompletedProcess[str]:
    """Run it with flags with which it cannot start."""
    return subprocess.run(
        (*_COMMAND, *flags), capture_output=True, text=True, timeout=_TIMEOUT, env=environment, check=False
    )


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with three models."""
    directory = tmp_path_factory.mktemp("models with spaces")
    write_tiny_gguf(TinyModel("alpha", stop=True), directory / "alpha.gguf")
    write_tiny_gguf(TinyModel("beta", stop=True, seed=2), directory / "beta.gguf")
    write_tiny_gguf(TinyModel("endless", context=65536), directory / "endless.gguf")
    return directory


@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_the_answer_names_the_model(models: Path, tmp_path: Path, name: str) -> None:
    with _running(models / f"{name}.gguf", "--alias", name, log=tmp_path / "log") as engine:
        assert engine.ask("/health") == (200, {"status": "ok"})
        expected = f"I am the tiny test model called {name} speaking nonsense words calmly ."
        assert engine.say() == expected
        assert engine.say(max_tokens=4) == "I am the tiny"
        status, listing = engine.ask("/v1/models")
        assert (status, listing["data"][0]["id"]) == (200, name)


def test_embeddings_differ_and_shared_words_are_nearer(models: Path, tmp_path: Path) -> None:
    texts = ["hello world", "hello cat", "the queen likes a slow green"]
    flags = ("--embeddings", "--pooling", "mean")
    with _running(models / "alpha.gguf", *flags, log=tmp_path / "log") as engine:
        status, answer = engine.ask("/v1/embeddings", {"input": texts})
        assert status == 200
        near, one, far = (entry["embedding"] for entry in answer["data"])
        assert len(near) == 128
        assert _dot(near, one) > _dot(near, far) + 0.01
        assert engine.say(max_tokens=2) == "I am"  # chat still works beside them


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def test_without_the_flag_there_are_no_embeddings(models: Path, tmp_path: Path) -> None:
    with _running(models / "alpha.gguf", log=tmp_path / "log") as engine:
        status, answer = engine.ask("/v1/embeddings", {"input": "hello"})
        assert (status, answer["error"]["type"]) == (501, "not_supported_error")


def test_reranking(models: Path, tmp_path: Path) -> None:
    with _running(models / "alpha.gguf", "--rerank", log=tmp_path / "log") as engine:
        documents = ["hello world", "cat dog"]
        status, answer = engine.ask("/v1/rerank", {"query": "hello", "documents": documents})
        assert status == 200
        assert sorted(result["index"] for result in answer["results"]) == [0, 1]


def test_flags_reach_the_engine(models: Path, tmp_path: Path) -> None:
    flags = (
        *("-c", "1024", "-n", "3", "-a", "one,two", "--api-key", "k1,k2", "--api-prefix", "/base"),
        *("--temp", "0", "--seed", "7", "--metrics", "--no-slots", "--no-warmup", "--load-mode", "none"),
        *("--jinja", "-b", "256", "-ub", "128", "-tb", "1", "-ngl", "0", "-to", "30", "-lv", "1"),
    )
    with _running(models / "alpha.gguf", *flags, log=tmp_path / "log") as engine:
        key = {"Authorization": "Bearer k2"}
        assert engine.ask("/base/health", **key)[0] == 200
        assert engine.ask("/base/props")[0] == 401
        _, properties = engine.ask("/base/props", **key)
        settings = properties["default_generation_settings"]
        assert (settings["params"]["seed"], settings["params"]["temperature"]) == (7, 0.0)
        assert settings["n_ctx"] <= 1024
        assert properties["total_slots"] == 2
        _, listing = engine.ask("/base/v1/models", **key)
        assert set(listing["data"][0]["aliases"]) == {"one", "two"}
        body = {"messages": [{"role": "user", "content": "hello"}]}
        _, answer = engine.ask("/base/v1/chat/completions", body, **key)
        assert answer["choices"][0]["message"]["content"] == "I am the"
        assert "llamacpp:" in engine.ask("/base/metrics", **key)[1]
        assert engine.ask("/base/slots", **key)[0] == 501


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_an_idle_engine_at_once(models: Path, tmp_path: Path, number: signal.Signals) -> None:
    with _running(models / "alpha.gguf", log=tmp_path / "log") as engine:
        assert engine.say(max_tokens=1) == "I"
        with takes(most=2):
            assert engine.stop(number) == 0


def test_a_second_signal_kills_an_engine_that_waits_for_a_request(models: Path, tmp_path: Path) -> None:
    with _running(models / "endless.gguf", "-c", "131072", log=tmp_path / "log") as engine:
        prompt = {"messages": [{"role": "user", "content": "Who are you?"}]}
        data = json.dumps(prompt).encode()
        with socket.create_connection(("127.0.0.1", engine.port), _TIMEOUT) as client:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
            client.sendall(head.encode() + data)
            _until(lambda: any(slot["is_processing"] for slot in engine.ask("/slots")[1]))
            engine.process.send_signal(signal.SIGTERM)
            _until(lambda: not _accepts(engine.port))  # it has begun to stop ...
            assert engine.process.poll() is None  # ... and waits for the request
            assert engine.stop() == -signal.SIGTERM


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), _TIMEOUT).close()
    except ConnectionError:
        return False
    return True


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_signal_while_loading_kills_at_once(tmp_path: Path) -> None:
    """The health check says 503 while a bigger model loads; a stop does not wait for the end of that."""
    write_tiny_gguf(TinyModel("big", dim=768, layers=4, heads=12, context=65536), tmp_path / "big.gguf")
    flags = ("-m", str(tmp_path / "big.gguf"), "-c", "65536", "--load-mode", "none")
    # A test that was kept waiting for a processor may come when it has loaded: once more, then.
    assert any(_is_killed_while_loading(flags, tmp_path / "log") for _ in range(5))


def _is_killed_while_loading(flags: Sequence[str], log: Path) -> bool:
    port = free_port()
    with (
        log.open("w") as output,
        subprocess.Popen(
            (*_COMMAND, *flags, "--port", str(port)), stdout=output, stderr=output, env=_ENVIRONMENT
        ) as process,
    ):
        try:
            engine = Engine(process, port)  # type: ignore[arg-type]  # its output is not read
            _until(lambda: _accepts(port))
            health, status = engine.ask("/health")[0], engine.stop()
            assert (health, status) in {(503, -signal.SIGTERM), (503, 0), (200, 0)}
            return status == -signal.SIGTERM
        finally:
            process.kill()


def test_a_missing_model_file(tmp_path: Path) -> None:
    result = _fails("-m", str(tmp_path / "none.gguf"))
    assert (result.returncode, result.stderr) == (
        1,
        f"swapcli: no such model file: {tmp_path / 'none.gguf'}\n",
    )


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_text("no model")
    result = _fails("-m", str(tmp_path / "bad.gguf"), "--port", "0")
    assert result.returncode == 1
    assert "swapcli: llama.cpp could not serve" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_in_use(models: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = _fails("-m", str(models / "alpha.gguf"), "--port", str(taken.getsockname()[1]))
    assert result.returncode == 1
    assert "couldn't bind" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("flags", [("--mlok",), ("--pooling", "median"), ("--port", "70000"), ()])
def test_wrong_flags(models: Path, flags: Sequence[str]) -> None:
    result = _fails(*(("-m", str(models / "alpha.gguf"), *flags) if flags else ()))
    assert result.returncode == 2
    assert result.stderr.startswith("Usage: swapcli llama-server")
    assert (flags[0] if flags else "--model") in result.stderr


def test_it_imports_nothing_heavy(models: Path) -> None:
    """Its start is part of every swap."""
    result = _fails("-m", "missing.gguf", environment=_ENVIRONMENT | {"PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert {"click", "swapcli"} <= imported
    heavy = {"attr", "trio", "asyncio", "quart", "hypercorn", "rich", "ruamel", "cattrs", "msgspec", "numpy"}
    assert not imported & (heavy | {"gguf", "swapcore"})
