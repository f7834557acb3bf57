"""Logs and events of a real server with a real process."""

from __future__ import annotations

import http.client
import json
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from real_children import free_port
from served_models import serving
from time_taken import takes

MODEL = """
import http.server, sys
print("loading", sys.argv[1], flush=True)
print("to stderr", file=sys.stderr, flush=True)
class Model(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Model).serve_forever()
"""


def test_output_and_states_reach_those_who_listen_until_the_end(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "model.py").write_text(MODEL)
    config = tmp_path / "config.yaml"
    config.write_text(
        "logToStdout: both\nlogTimeFormat: kitchen\nmodels:\n  org/m:\n"
        f"    cmd: {sys.executable} {tmp_path / 'model.py'} {port}\n"
        f"    proxy: http://127.0.0.1:{port}\n"
    )
    with serving(config, tmp_path / "log") as server, ExitStack() as stack:
        streams = {}
        for path in ("/logs/stream/org/m", "/logs/stream/upstream", "/api/events"):
            connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
            stack.callback(connection.close)
            connection.request("GET", path)
            streams[path] = stack.enter_context(connection.getresponse())
            assert streams[path].status == 200
        server.get("/api/models/load/org/m", method="POST")
        for path in ("/logs/stream/org/m", "/logs/stream/upstream"):
            lines = sorted(streams[path].readline() for _ in range(2))
            assert lines == [b"loading %d\n" % port, b"to stderr\n"]
        states = []
        while "ready" not in states:
            line = streams["/api/events"].readline().decode()
            if line.startswith("data:"):
                event = json.loads(line.removeprefix("data:"))
                if event["type"] == "modelStatus":
                    states.append(json.loads(event["data"])[0]["state"])
        assert states[0] == "stopped"
        assert states == sorted(states, key=["stopped", "starting", "ready"].index)
        deadline = time.monotonic() + 20
        while 'swapcli_load_seconds_count{model="org/m"} 1.0' not in (
            metrics := server.get("/metrics").decode()
        ):
            assert time.monotonic() < deadline, metrics
            time.sleep(0.01)  # counted beside the load, not before its answer
        assert 'swapcli_starts_total{model="org/m"} 1.0' in metrics
        assert json.loads(server.get("/api/hardware"))["memory"]["capacity_bytes"] > 0
        server.wait_for_log(f"loading {port}\n")  # printed by a thread of its own, perhaps in pieces
        server.wait_for_log("M [INFO] starting org/m\n")
        with takes(most=5):
            server.process.send_signal(signal.SIGTERM)
            rest = {path: stream.read() for path, stream in streams.items()}  # to a clean end
            assert server.process.wait(20) == 0
        assert b"SIGTERM: stopping" in rest["/api/events"]
