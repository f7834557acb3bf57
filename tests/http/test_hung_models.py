"""A model that takes requests and never answers is replaced: its callers are told, and the next is served."""

from __future__ import annotations

import http.client
import json
import sys
from pathlib import Path

from real_children import free_port
from served_models import serving

# Answers health checks and, to anything else, only the first time it is started; then it answers nothing.
MODEL = """
import http.server, os, sys, time
first = not os.path.exists(sys.argv[2])
open(sys.argv[2], "w").close()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if first:
            time.sleep(600)
        self.send_response(200); self.end_headers(); self.wfile.write(b"awake")
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_busy_model_that_is_silent_is_replaced(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "model.py").write_text(MODEL)
    config = tmp_path / "config.yaml"
    config.write_text(
        "models:\n  m:\n"
        f"    cmd: {sys.executable} {tmp_path / 'model.py'} {port} {tmp_path / 'was-here'}\n"
        f"    proxy: http://127.0.0.1:{port}\n"
        "    unloadTimeout: 1\n"
        "    liveness: {silent: 1}\n"
    )
    with serving(config, tmp_path / "log") as server:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/completions", '{"model": "m"}', headers)
        response = connection.getresponse()
        body = response.read()
        # It may be the very request at which the model hangs, so it is not tried again.
        assert response.status == 502
        error = json.loads(body)["error"]
        assert error["code"] == "upstream_hung"
        assert error["message"].startswith("m: ")
        assert "silent for 1 s" in error["message"]
        server.wait_for_log("silent for 1 s")
        connection.request("POST", "/v1/completions", '{"model": "m"}', headers)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"awake")
        connection.close()
