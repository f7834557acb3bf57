"""A model server that does to its callers what they ask for: the models of the soak.

    python -S soak_model.py NAME PORT [MANNER ...]

Manners: ``slow`` needs a moment to start, ``broken`` fails to; ``stubborn`` ignores SIGTERM; ``family`` has
children in the background, of which some ignore SIGTERM and leave its process group.

A JSON body may have these keys; websockets get back what they send:

- ``stream``: so many events, with ``pause`` seconds between them;
- ``say``: so many bytes of output;
- ``hold``: think so many seconds before the answer;
- ``fill``: so many bytes that are no JSON;
- ``die``: at once, or after so many events;
- ``hang``: ``stopped``, the whole process, or ``silent``, it answers nobody any more.

Starts often, so it imports little.
"""

from __future__ import annotations

import json
import os
import signal
import socketserver
import sys
import threading
import time
import zlib
from typing import Any

NAME = sys.argv[1] if len(sys.argv) > 1 else ""
SILENT = threading.Event()


def filling(name: str, size: int) -> bytes:
    """What an answer of *size* bytes is made of; callers compare."""
    line = f"{name} says what {name} says.\n".encode()
    return (line * (size // len(line) + 1))[:size]


def say_nothing() -> None:
    threading.Event().wait()


class Conversation(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        try:
            while line := self.rfile.readline():
                self.serve(line.decode("latin-1").split()[0])
        except OSError:
            pass  # the other side has gone

    def serve(self, method: str) -> None:
        headers = dict[str, str]()
        while text := self.rfile.readline().strip().decode("latin-1"):
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        if SILENT.is_set():
            say_nothing()
        if "upgrade" in headers:
            self.echo()
        elif method == "GET":
            self.answer(b"ok", "text/plain")
        else:
            body = self.rfile.read(int(headers["content-length"]))
            is_json = headers.get("content-type", "").startswith("application/json")
            self.obey(body, json.loads(body) if is_json else {})

    def obey(self, body: bytes, asked: dict[str, Any]) -> None:
        os.write(1, f"{NAME} got {len(body)} bytes\n".encode() + filling(NAME, asked.get("say", 0)))
        time.sleep(asked.get("hold", 0))
        match asked.get("hang"):
            case "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
                say_nothing()  # the other threads stop first
            case "silent":
                SILENT.set()
                say_nothing()
            case _:
                pass
        if "stream" in asked:
            self.stream(asked["stream"], asked.get("pause", 0), asked.get("die"))
        elif "die" in asked:
            os._exit(3)
        elif "fill" in asked:
            self.answer(filling(NAME, asked["fill"]), "text/plain")
        else:
            usage = {"prompt_tokens": len(body) // 4, "completion_tokens": 7}
            told = {"model": NAME, "bytes": len(body), "crc": zlib.crc32(body), "usage": usage}
            self.answer(json.dumps(told).encode(), "application/json")

    def stream(self, events: int, pause: float, die_after: int | None) -> None:
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for number in range(events):
            if number == die_after:
                os._exit(3)
            self.chunk(b'data: {"model": "%b", "number": %d}\n\n' % (NAME.encode(), number))
            time.sleep(pause)
        self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def answer(self, body: bytes, content_type: str) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def echo(self) -> None:
        self.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        while data := self.connection.recv(65536):
            self.wfile.write(data)


class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 128
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a caller that leaves is none


def start_family() -> None:
    """One that stays, one of another session that ignores SIGTERM, one whose parent has gone."""
    for session, orphan in ((False, False), (True, False), (True, True)):
        if os.fork() == 0:
            if session:
                os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if orphan and os.fork():
                os._exit(0)
            time.sleep(3600)
            os._exit(0)


def main() -> None:
    port, manners = int(sys.argv[2]), sys.argv[3:]
    if "broken" in manners:
        sys.exit("no such file: model.gguf")
    if "stubborn" in manners:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "family" in manners:
        start_family()
    if "slow" in manners:
        time.sleep(0.4)
    Server(("127.0.0.1", port), Conversation).serve_forever()


if __name__ == "__main__":
    main()
