"""The record of a real server with real models, in a process of its own that may be killed."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import IncompleteRead
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from served_models import Server, serving, write_models
from time_taken import takes

from swapcli.activity.database import ActivityDatabase
from swapcli.activity.query import ActivityQuery

CHAT = {"messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 6}


@contextmanager
def recording(store: Path) -> Iterator[Server]:
    """Serve models with this file for the record."""
    config = write_models(store.parent)
    config.write_text(config.read_text() + f"store: {{path: {store}}}\n")
    with serving(config, store.parent / "log") as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with recording(tmp_path_factory.mktemp("served") / "activity.db") as server:
        yield server


def ask(server: Server, path: str, body: dict[str, Any]) -> bytes:
    request = urllib.request.Request(
        server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: bytes = answer.read()
        return found


def newest(server: Server) -> dict[str, Any]:
    rows: list[dict[str, Any]] = json.loads(server.get("/api/metrics/activity?limit=1"))["data"]
    return rows[0] if rows else {"id": 0}


def until(condition: Callable[[], bool]) -> None:
    deadline = monotonic() + 20
    while not condition():
        assert monotonic() < deadline
        sleep(0.005)  # another process sends no events


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", {**CHAT, "stream": True}),
        ("/v1/messages", CHAT),
        ("/v1/messages", {**CHAT, "stream": True}),
        ("/v1/responses", {"input": "Hello", "max_output_tokens": 6, "stream": True}),
        ("/v1/completions", {"prompt": "Say", "max_tokens": 6}),
        ("/completion", {"prompt": "Say", "n_predict": 6, "stream": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else "streamed" if "stream" in value else "whole",
)
def test_what_a_real_engine_says_it_used_is_recorded(server: Server, path: str, body: dict[str, Any]) -> None:
    before = newest(server)["id"]
    ask(server, path, {"model": "south", **body})
    until(lambda: (row := newest(server))["id"] > before and row["req_path"] == path)
    row = newest(server)
    assert (row["model"], row["resp_status_code"], row["has_capture"]) == ("south", 200, True)
    assert row["tokens"]["output_tokens"] == 6
    assert row["tokens"]["input_tokens"] + row["tokens"]["cache_tokens"] >= 4


@pytest.mark.rule("G38")
def test_a_request_in_line_says_so(server: Server) -> None:
    """The list is what a web page sees of it: the first snapshot of the events."""

    def under_way() -> list[dict[str, Any]]:
        with urllib.request.urlopen(server.url + "/api/events", timeout=30) as events:
            for line in events:
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    if event["type"] == "inflight":
                        return list(json.loads(event["data"]).get("requests", []))
        raise AssertionError

    long = {**CHAT, "max_tokens": 100_000, "stream": True, "ignore_eos": True}
    with ThreadPoolExecutor() as pool:
        busy = pool.submit(ask, server, "/v1/chat/completions", {"model": "north", **long})
        until(lambda: [(each["model"], each["state"]) for each in under_way()] == [("north", "serving")])
        waiting = pool.submit(ask, server, "/v1/chat/completions", {"model": "south", **CHAT})
        until(  # its place is known a moment after it is on the list
            lambda: (
                [(each["model"], each["state"], each.get("position")) for each in under_way()][1:]
                == [("south", "queued", 1)]
            )
        )
        first, _ = under_way()
        assert (first["model"], first["state"]) == ("north", "serving")
        cancel = urllib.request.Request(f"{server.url}/api/inflight/{first['id']}/cancel", method="POST")
        with urllib.request.urlopen(cancel, timeout=30) as answer:
            assert json.loads(answer.read()) == {"msg": "ok"}
        with pytest.raises(IncompleteRead):
            busy.result(30)
        assert b"south" in waiting.result(30) or b"tiny" in waiting.result(30)


def test_a_killed_server_has_its_record(tmp_path: Path) -> None:
    store = tmp_path / "activity.db"

    def written() -> bool:
        with closing(sqlite3.connect(store)) as raw:
            rows = raw.execute("SELECT output_tokens FROM activity ORDER BY id DESC LIMIT 1").fetchall()
            return bool(rows == [(3,)])

    with recording(store) as server:
        ask(server, "/v1/completions", {"model": "south", "prompt": "Say", "max_tokens": 3})
        with takes(most=1.0):
            until(written)
        server.process.kill()
        server.process.wait(20)
    database = ActivityDatabase.open(str(store))
    assert database.page(ActivityQuery()).records[0].tokens.output == 3
    database.close()


@pytest.mark.rule("C8", "L161")
def test_a_file_of_llama_swap_is_refused_before_anything_starts(tmp_path: Path) -> None:
    store = tmp_path / "llama-swap.db"
    with closing(sqlite3.connect(store)) as raw:
        raw.execute("CREATE TABLE activity (id INTEGER)")
        raw.execute("CREATE TABLE goose_db_version (id INTEGER)")
    config = tmp_path / "config.yaml"
    config.write_text(f"store: {{path: {store}}}\nmodels: {{}}\n")
    with pytest.raises(AssertionError, match="was written by llama-swap"), serving(config, tmp_path / "log"):
        pass


def test_a_damaged_file_is_told_of_like_everything_else_and_used_once_it_is_mended(tmp_path: Path) -> None:
    store, config = tmp_path / "a.db", write_models(tmp_path)
    ActivityDatabase.open(str(store)).close()
    healthy = store.read_bytes()
    store.write_bytes(healthy[:4096] + b"\xff" * (len(healthy) - 4096))
    config.write_text(config.read_text() + f"store: {{path: {store}}}\n")

    def failures(server: Server) -> bytes:
        lines = server.get("/metrics").splitlines()
        return next(line for line in lines if line.startswith(b"swapcli_record_failures_total"))

    with serving(config, tmp_path / "log") as server:
        told = f"[WARN] '{store}' cannot be used".encode()
        assert told in server.get("/logs")
        server.wait_for_log(told.decode())
        assert failures(server).endswith(b" 1.0")
        ask(server, "/v1/completions", {"model": "south", "prompt": "Say", "max_tokens": 3})
        until(lambda: json.loads(server.get("/api/metrics/activity"))["total"] == 1)
        store.write_bytes(healthy)
        config.write_text(config.read_text() + "captureBuffer: 0\n")
        server.get("/api/reload", method="POST")
        ask(server, "/v1/completions", {"model": "south", "prompt": "Say", "max_tokens": 3})

        def written() -> bool:
            with closing(sqlite3.connect(store)) as raw:
                return bool(raw.execute("SELECT id FROM activity").fetchall() == [(2,)])

        until(written)
        assert failures(server).endswith(b" 1.0")


@pytest.mark.rule("H166")
def test_the_record_survives_a_reload_and_can_move(tmp_path: Path) -> None:
    config = write_models(tmp_path)
    plain = config.read_text()
    asking = {"model": "south", "prompt": "Say", "max_tokens": 3}

    def record(server: Server) -> list[tuple[int, bool]]:
        rows = json.loads(server.get("/api/metrics/activity"))["data"]
        return [(row["id"], row["has_capture"]) for row in rows]

    with serving(config, tmp_path / "log") as server:
        ask(server, "/v1/completions", asking)
        until(lambda: record(server) == [(1, True)])
        config.write_text(plain + "metricsMaxInMemory: 2\ncaptureBuffer: 1\n")
        server.get("/api/reload", method="POST")
        for _ in range(2):
            ask(server, "/v1/completions", asking)
        until(lambda: record(server) == [(3, True), (2, True)])
        config.write_text(plain + f"captureBuffer: 0\nstore: {{path: {tmp_path / 'moved.db'}}}\n")
        server.get("/api/reload", method="POST")
        ask(server, "/v1/completions", asking)
        until(lambda: record(server) == [(4, False)])
    assert "cannot be recorded" not in (tmp_path / "log").read_text()  # which is whole only now
