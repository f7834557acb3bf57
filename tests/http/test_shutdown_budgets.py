"""What everybody gets when the server stops: requests their time, models theirs, and who waits an answer."""

from __future__ import annotations

import http.client
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from real_children import free_port
from served_models import Server, serving
from time_taken import takes

# PORT FILE SECONDS: streams for ever; on SIGTERM it works for so long, then writes FILE and leaves.
MODEL = """
import http.server, os, signal, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200); self.send_header("Transfer-Encoding", "chunked"); self.end_headers()
        while True:
            self.wfile.write(b"2\\r\\nx\\n\\r\\n"); time.sleep(0.02)
    def log_message(self, *args): pass
def leave(*_):
    time.sleep(float(sys.argv[3]))
    open(sys.argv[2], "w").close()
    os._exit(0)
signal.signal(signal.SIGTERM, leave)
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
while True: signal.pause()
"""
SHORT_DRAIN = "import swapcli._serve as s; s.DRAIN_SECONDS = 0.5; from swapcli.__main__ import main; main()"


@contextmanager
def two_models(
    folder: Path, *, stop_seconds: float, program: tuple[str, ...] = ("-m", "swapcli")
) -> Iterator[Server]:
    """Serve two models that exclude each other."""
    (folder / "model.py").write_text(MODEL)
    lines = ["models:"]
    for name in ("one", "two"):
        port = free_port()
        command = f"{sys.executable} -S {folder / 'model.py'} {port} {folder / name} {stop_seconds}"
        lines += [
            f"  {name}:",
            f"    cmd: {command}",
            f"    proxy: http://127.0.0.1:{port}",
            "    unloadTimeout: 5",
        ]
    config = folder / "config.yaml"
    config.write_text("\n".join(lines))
    with serving(config, folder / "log", program=program) as server:
        yield server


def ask(server: Server, model: str) -> http.client.HTTPConnection:
    """Send a request and leave its answer to the caller."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.request(
        "POST", "/v1/chat/completions", json.dumps({"model": model}), {"Content-Type": "application/json"}
    )
    return connection


@contextmanager
def streaming(server: Server, model: str) -> Iterator[http.client.HTTPResponse]:
    connection = ask(server, model)
    response = connection.getresponse()
    assert response.readline() == b"x\n"
    try:
        yield response
    finally:
        connection.close()


@pytest.mark.rule("G11")
def test_who_waits_gets_503_at_once_while_a_stream_goes_on(tmp_path: Path) -> None:
    with two_models(tmp_path, stop_seconds=0) as server, streaming(server, "one") as stream:
        waiting = ask(server, "two")
        while b'"waiting":1' not in server.get("/api/fleet").replace(b" ", b""):
            pass  # each look is a request, answered when it is
        with takes(most=0.5):
            server.process.send_signal(signal.SIGTERM)
            answer = waiting.getresponse()
        assert answer.status == 503
        assert json.loads(answer.read())["error"]["code"] == "shutting_down"
        assert stream.readline() == b"x\n"
        waiting.close()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        assert server.log.read_text().count("starting ") == 1, "nothing is started while it stops"


@pytest.mark.rule("G11")
@pytest.mark.rule("L162")
def test_a_model_gets_its_own_time_after_requests_had_all_of_theirs(tmp_path: Path) -> None:
    with two_models(tmp_path, stop_seconds=1.5, program=("-c", SHORT_DRAIN)) as server:
        with streaming(server, "one") as stream, takes(most=0.5 + 1.5 + 2):
            with takes(0.5, most=2):
                server.process.send_signal(signal.SIGTERM)
                with pytest.raises(http.client.IncompleteRead):
                    stream.read()
            assert server.process.wait(20) == 0
        assert (tmp_path / "one").exists(), "its handler was not let finish"


@pytest.mark.rule("G11")
@pytest.mark.rule("L163")
def test_a_second_signal_ends_a_server_whose_models_stop_at_once(tmp_path: Path) -> None:
    with two_models(tmp_path, stop_seconds=0) as server, streaming(server, "one"):
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("SIGTERM: stopping")
        with takes(most=0.5):
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(20) == 0
        assert server.children.alive() == []
        assert (tmp_path / "one").exists()


@pytest.mark.rule("G15")
def test_a_preload_under_way_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with two_models(tmp_path, stop_seconds=0) as server:
        config = tmp_path / "config.yaml"
        port = free_port()
        config.write_text(
            config.read_text()
            + f"\n  slow:\n    cmd: {sys.executable} -S -c 'import time; time.sleep(600)'\n"
            f"    proxy: http://127.0.0.1:{port}\nhooks: {{on_startup: {{preload: [slow, one, two]}}}}\n"
        )
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("starting slow")
        with takes(most=2):
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(20) == 0
        log = server.log.read_text()
        assert "starting one" not in log
        assert "cannot preload" not in log
