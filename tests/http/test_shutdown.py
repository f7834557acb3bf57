"""How a server ends: by one signal, by two, by three, and by none that it can catch. No model outlives it."""

from __future__ import annotations

import http.client
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from real_children import free_port
from served_models import Server, serving
from time_taken import takes

# PORT SECONDS MANNER: streams a line every 50 ms for so long, starts a stubborn child, may be stubborn too.
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
        end = time.monotonic() + float(sys.argv[2])
        while time.monotonic() < end:
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
def one_model(folder: Path, *, stream_seconds: float, stubborn: bool = False) -> Iterator[Server]:
    port = free_port()
    (folder / "model.py").write_text(MODEL)
    manner = "stubborn" if stubborn else "polite"
    config = folder / "config.yaml"
    config.write_text(
        f"unloadTimeout: {600 if stubborn else 5}\n"
        "models:\n"
        "  m:\n"
        f"    cmd: {sys.executable} {folder / 'model.py'} {port} {stream_seconds} {manner}\n"
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


@pytest.mark.rule("C11", "L104")
def test_one_signal_lets_a_stream_end_and_then_stops_everything(tmp_path: Path) -> None:
    with one_model(tmp_path, stream_seconds=1.5) as server:
        connection, response = begin_stream(server)
        server.process.send_signal(signal.SIGINT)
        server.wait_for_log("SIGINT")
        with pytest.raises(ConnectionRefusedError):
            http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=5).request(
                "GET", "/health"
            )
        rest = response.read()
        assert rest.count(b"data: x") > 15, "the stream was cut"
        connection.close()
        assert server.process.wait(10) == 0
        server.wait_until_gone(within=0.5)


def test_idle_it_ends_at_once(tmp_path: Path) -> None:
    with one_model(tmp_path, stream_seconds=0) as server:
        connection, response = begin_stream_to_the_end(server)
        with takes(most=2):
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(10) == 0
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
    with one_model(tmp_path, stream_seconds=25) as server:
        connection, response = begin_stream(server)
        server.process.send_signal(signal.SIGINT)
        server.wait_for_log("SIGINT")
        with takes(most=3):
            server.process.send_signal(signal.SIGINT)
            with pytest.raises(http.client.IncompleteRead):  # and never a clean end
                response.read()
            assert server.process.wait(10) == 0
        server.wait_until_gone(within=0.5)
        connection.close()


def test_a_third_signal_kills_what_does_not_want_to_stop(tmp_path: Path) -> None:
    with one_model(tmp_path, stream_seconds=25, stubborn=True) as server:
        connection, response = begin_stream(server)
        server.process.send_signal(signal.SIGINT)
        server.wait_for_log("SIGINT")
        server.process.send_signal(signal.SIGINT)
        server.wait_for_log("stopping m")
        assert len(server.children.alive()) >= 3
        with takes(most=0.5):
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(10) == 1
        server.wait_until_gone(within=1)
        response.close()
        connection.close()


def test_a_server_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    with one_model(tmp_path, stream_seconds=25, stubborn=True) as server:
        connection, response = begin_stream(server)
        server.process.kill()
        assert server.process.wait(5) == -signal.SIGKILL
        server.wait_until_gone(within=1)
        response.close()
        connection.close()


def test_a_model_that_crashes_takes_its_descendants_along_and_comes_back(tmp_path: Path) -> None:
    with one_model(tmp_path, stream_seconds=0) as server:
        begin_stream_to_the_end(server)[0].close()
        before = set(server.children.alive()) - {server.process.pid}
        [leader] = [pid for pid in before if b"model.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(leader, signal.SIGKILL)
        server.wait_for_log("was killed by SIGKILL")
        connection, response = begin_stream_to_the_end(server)
        assert response.status == 200
        connection.close()
        models = [
            pid for pid in server.children.alive() if b"model.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        assert len(models) == 1
        assert models != [leader]
