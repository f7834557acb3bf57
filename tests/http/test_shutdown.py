"""How a server ends: by one signal, by two, by three, and by none that it can catch. No model outlives it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from real_children import free_port
from served_models import Server, serving
from time_taken import takes

# PORT LINES MANNER: streams so many, one every 50 ms, starts a stubborn child, may be stubborn too.
MODEL = """
import http.server, os, signal, subprocess, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers()
        self.wfile.write(b"ok")
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked"); self.end_headers()
        for _ in range(int(sys.argv[2])):
            self.wfile.write(b"9\\r\\ndata: x\\n\\n\\r\\n"); time.sleep(0.05)
        self.wfile.write(b"0\\r\\n\\r\\n")
    def log_message(self, *args): pass
if sys.argv[3] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
CHILD = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
subprocess.Popen([sys.executable, "-S", "-c", CHILD], start_new_session=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@contextmanager
def one_model(folder: Path, *, lines: int, stubborn: bool = False) -> Iterator[Server]:
    port = free_port()
    (folder / "model.py").write_text(MODEL)
    manner = "stubborn" if stubborn else "polite"
    config = folder / "config.yaml"
    config.write_text(
        f"unloadTimeout: {600 if stubborn else 5}\n"
        "models:\n"
        "  m:\n"
        f"    cmd: {sys.executable} {folder / 'model.py'} {port} {lines} {manner}\n"
        f"    proxy: http://127.0.0.1:{port}\n"
    )
    with serving(config, folder / "log") as server:
        yield server


def begin_stream(server: Server) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    body = '{"model": "m", "stream": true}'
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.status == 200
    assert response.readline() == b"data: x\n"
    return connection, response


def until_refused(server: Server) -> None:
    """Wait until nobody accepts connections any more."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((host, int(port)), 20).close()
        except ConnectionRefusedError:
            return
        assert time.monotonic() < deadline


@pytest.mark.rule("C11", "L104")
def test_one_signal_lets_a_stream_end_and_then_stops_everything(tmp_path: Path) -> None:
    with one_model(tmp_path, lines=30) as server:
        connection, response = begin_stream(server)
        server.process.send_signal(signal.SIGINT)
        server.wait_for_log("SIGINT")
        until_refused(server)
        rest = response.read()
        assert rest.count(b"data: x") == 29, "the stream was cut"
        connection.close()
        assert server.process.wait(20) == 0
        server.wait_until_gone(within=0.5)


def test_idle_it_ends_at_once(tmp_path: Path) -> None:
    with one_model(tmp_path, lines=0) as server:
        connection, response = begin_stream_to_the_end(server)
        with takes(most=2):
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(20) == 0
        server.wait_until_gone(within=0.5)
        response.close()
        connection.close()


def begin_stream_to_the_end(server: Server) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Ask, read all, and keep the connection open, idle."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    body = '{"model": "m"}'
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    return connection, response


def test_a_second_signal_does_not_wait_for_streams(tmp_path: Path) -> None:
    with one_model(tmp_path, lines=500) as server:
        connection, response = begin_stream(server)
        server.process.send_signal(signal.SIGINT)
        server.wait_for_log("SIGINT")
        with takes(most=3):
            server.process.send_signal(signal.SIGINT)
            with pytest.raises(http.client.IncompleteRead):  # and never a clean end
                response.read()
            assert server.process.wait(20) == 0
        server.wait_until_gone(within=0.5)
        connection.close()


def test_a_third_signal_kills_what_does_not_want_to_stop(tmp_path: Path) -> None:
    with one_model(tmp_path, lines=500, stubborn=True) as server:
        connection, response = begin_stream(server)
        server.process.send_signal(signal.SIGINT)
        server.wait_for_log("SIGINT")
        server.process.send_signal(signal.SIGINT)
        server.wait_for_log("stopping m")
        assert len(server.children.alive()) >= 3
        with takes(most=0.5):
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(20) == 1
        server.wait_until_gone(within=1)
        response.close()
        connection.close()


def test_a_server_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    with one_model(tmp_path, lines=500, stubborn=True) as server:
        connection, response = begin_stream(server)
        server.process.kill()
        assert server.process.wait(20) == -signal.SIGKILL
        server.wait_until_gone(within=1)
        response.close()
        connection.close()


def leaders(server: Server) -> list[int]:
    """The processes that run the model's own program."""
    found: list[int] = []
    for pid in server.children.alive():
        with suppress(FileNotFoundError):  # it has just ended
            if b"model.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def test_a_model_that_crashes_takes_its_descendants_along_and_comes_back(tmp_path: Path) -> None:
    with one_model(tmp_path, lines=0) as server:
        begin_stream_to_the_end(server)[0].close()
        [leader] = leaders(server)
        os.kill(leader, signal.SIGKILL)
        server.wait_for_log("was killed by SIGKILL")
        connection, response = begin_stream_to_the_end(server)
        assert response.status == 200
        connection.close()
        [another] = leaders(server)
        assert another != leader
