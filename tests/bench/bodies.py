"""Bodies of 8 MB, both ways: how long they take, and how often they lie in the server's memory at once.

A copy is 8 MB by which the resident memory of ``swapcli serve`` was larger at its peak, while it carried
one request, than before it; the worst of several times. The kernel counts that, whatever the memory was used
for: pieces as they come, the whole of them, what an edit makes of it, what waits to be sent. The body itself,
once it is there, is the first copy. So that each of them is seen, glibc's allocator is told to take long
blocks from the system, always, and to give them back at once; by itself it keeps some for the next time,
which would seem to need nothing then.
"""

from __future__ import annotations

import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import attrs
from load_servers import Model, request
from model_server import MEGABYTES_8
from served import Served, serving
from table import Row

ROUNDS = 5
_LONG_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": "131072"}
_CONFIG = """models:
  m:
    cmd: {m.command}
    proxy: {m.url}
  edited:
    cmd: {edited.command}
    proxy: {edited.url}
    useModelName: other
    filters:
      stripParams: top_p
      setParams: {{temperature: 0.5, messages.0.content.0.detail: low}}
routing:
  router:
    settings:
      groups:
        all: {{swap: false, members: [m, edited]}}
"""


def _post(path: str, content_type: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def _chat(model: str, size: int) -> bytes:
    """With an image, within all that a chat puts around one."""
    body = (
        b'{"model":"%b","top_p":1,"messages":[{"role":"user","content":[{"type":"image_url",'
        b'"image_url":{"url":"data:image/png;base64,%b"}}]}]}'
    ) % (model.encode(), b"QUJD" * (size // 4))
    return _post("/v1/chat/completions", "application/json", body)


def _form(model: str, size: int) -> bytes:
    """With a recording."""
    part = b'--XX\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    body = part % (b"model", b"", model.encode())
    body += part % (b"file", b'; filename="a.wav"', b"RIFF" * (size // 4)) + b"--XX--\r\n"
    return _post("/v1/audio/transcriptions", "multipart/form-data; boundary=XX", body)


@attrs.frozen
class _Case:
    what: str
    make: Callable[[int], bytes]
    """The request, with a body of about so many bytes."""
    answer: int = 0
    """At least so many bytes of it are to come."""


CASES = (
    _Case("JSON up", lambda size: _chat("m", size)),
    _Case("JSON up, edited", lambda size: _chat("edited", size)),
    _Case("form up", lambda size: _form("m", size)),
    _Case("form up, renamed", lambda size: _form("edited", size)),
    _Case(
        "up, past the routes",
        lambda size: _post("/upstream/m/any", "application/octet-stream", b"RIFF" * (size // 4)),
    ),
    _Case("down", lambda size: request("bulk" if size else "answer"), MEGABYTES_8),
)


def measure() -> list[Row]:
    rows = list[Row]()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(_CONFIG.format(m=Model.somewhere(), edited=Model.somewhere()))
        with serving(config, environment=_LONG_BLOCKS) as served:
            for case in CASES:
                _ask(served.port, case.make(0))  # its model is there, its modules are imported
                rounds = [_carry(served, case) for _ in range(ROUNDS)]
                copies, seconds = zip(*rounds, strict=True)
                what = f"8 MB {case.what}"
                rows += [
                    Row(what=f"{what}: copies", value=max(copies), at_most=2),
                    Row(what=what, value=statistics.median(seconds) * 1e3, unit="ms"),
                ]
    return rows


def _carry(served: Served, case: _Case) -> tuple[float, float]:
    """How many copies there were at most, and how long it took."""
    question = case.make(MEGABYTES_8)
    served.forget_peak()
    before, started = served.resident_megabytes, time.monotonic()
    size = _ask(served.port, question)
    seconds = time.monotonic() - started
    assert size >= case.answer
    return max(0.0, served.peak_megabytes - before) / 8, seconds


def _ask(port: int, question: bytes) -> int:
    """Return how long the answer's body is."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(question)
        answer = bytearray()
        length = None
        while length is None or len(answer) < length:
            piece = connection.recv(1024 * 1024)
            assert piece, "the connection was closed"
            answer += piece
            if length is None and (end := answer.find(b"\r\n\r\n")) >= 0:
                head = bytes(answer[:end]).lower()
                assert head.startswith(b"http/1.1 200"), bytes(answer)
                del answer[: end + 4]
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return length
