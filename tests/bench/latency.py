"""What a server on the way adds to the time that one client waits for a short answer.

The client asks the upstream directly, through the program (``swapcli serve``, with all that it does), and
through a Quart-Trio route that does nothing but hand the body on over a connection that it keeps, and give
back what it gets. What is added is the time that way less the direct time: in both cases one more server, one
more connection. The route is the least that can be written on that framework for this purpose, and no proxy
to be used.

A route that makes up the answer itself spares the second connection and the upstream; it is shown beside it.

One connection, one request at a time, a few on each in turn.
"""

from __future__ import annotations

import socket
import tempfile
import time
from pathlib import Path

import attrs
from load_servers import one_model, request, running
from model_server import ANSWER
from served import serving
from table import Row, percentile

TURNS = 150
IN_A_ROW = 10
_UNMEASURED = 20


@attrs.define(eq=False)
class _Client:
    port: int
    times: list[float] = attrs.field(factory=list[float], init=False)
    """Milliseconds."""
    _connection: socket.socket = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, question: bytes) -> None:
        started = time.perf_counter()
        self._connection.sendall(question)
        answer = b""
        while not answer.endswith(ANSWER):
            answer += self._connection.recv(65536)
        self.times.append((time.perf_counter() - started) * 1e3)

    def close(self) -> None:
        self._connection.close()

    def at(self, percent: float) -> float:
        return percentile(self.times[_UNMEASURED:], percent)


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(one_model())
        with (
            serving(config) as served,
            running("upstream") as upstream,
            running("forward", upstream=upstream) as forward,
            running("quart") as quart,
        ):
            ports = (upstream.port, served.port, forward.port, quart.port)
            clients = [_Client(port) for port in ports]
            question = request("answer")
            for _ in range(TURNS):
                for client in clients:
                    for _ in range(IN_A_ROW):
                        client.ask(question)
            for client in clients:
                client.close()
    direct, ours, forwarding, alone = clients
    added = {percent: ours.at(percent) - direct.at(percent) for percent in (50, 99)}
    return [
        Row(what="latency: direct call, p50", value=direct.at(50), unit="ms"),
        Row(what="latency: added, p50", value=added[50], unit="ms"),
        Row(what="latency: added, p99", value=added[99], unit="ms"),
        Row(
            what="latency: added p50 / by a bare Quart-Trio route that forwards",
            value=added[50] / (forwarding.at(50) - direct.at(50)),
            at_most=1.5,
        ),
        Row(
            what="latency: added p50 / all of a bare Quart-Trio route's that answers",
            value=added[50] / alone.at(50),
        ),
    ]
