"""The server of a model that does next to nothing: its CPU is taken from the servers that are measured."""

from __future__ import annotations

import asyncio
import json
from typing import Any

EVENT = (
    b'data: {"id":"x","object":"text_completion","choices":[{"index":0,"text":" nonsense","logprobs":0}]}\n\n'
)
ANSWER = json.dumps({"id": "x", "choices": [{"text": "words " * 20}]}).encode()
MEGABYTES_8 = 8 * 1024 * 1024
BULK = b'{"data":[{"b64_json":"%b"}],"usage":{"total_tokens":7}}' % (b"QUJD" * (MEGABYTES_8 // 4))
_LONG = 4096
"""A body that is longer says nothing of what is wanted, and gets the answer."""
_CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)


def wanted(body: bytes) -> tuple[str, float]:
    """What to do, and the pause between events."""
    wishes: dict[str, Any] = json.loads(body) if body.startswith(b"{") and len(body) < _LONG else {}
    return wishes.get("do", "answer"), wishes.get("pause", 0.0)


def _whole(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


_ANSWERS = {"answer": _whole(ANSWER), "bulk": _whole(BULK)}


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.received = bytearray()
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.stream: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.stream is not None:
            self.stream.cancel()

    def pause_writing(self) -> None:
        self.may_write.clear()

    def resume_writing(self) -> None:
        self.may_write.set()

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n") + 4) > 3:
            head = bytes(self.received[:end]).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            if len(self.received) < end + length:
                return
            do, pause = wanted(
                bytes(self.received[end : end + min(length, _LONG)]) if length < _LONG else b""
            )
            del self.received[: end + length]
            if do == "stream":
                self.stream = asyncio.create_task(self.send_events(pause))
            else:
                self.transport.write(_ANSWERS[do])

    async def send_events(self, pause: float) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        self.transport.write(b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            self.transport.write(_CHUNK)
            await asyncio.sleep(pause)
            await self.may_write.wait()


async def serve_model(port: int) -> None:
    """Serve until cancelled; prints the port."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
