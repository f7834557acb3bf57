"""Both ends of the HTTP server, on real sockets: clients and upstreams that choose every byte."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from math import inf

import attrs
import h11
import trio
from hypercorn.typing import ASGIFramework

from swapcli.config import Configuration, ModelConfig
from swapcli.http import (
    Drain,
    Live,
    Measurements,
    ServerLimits,
    UiFiles,
    UpstreamPool,
    create_app,
    serve_http,
)
from swapcore import (
    Endpoint,
    ModelId,
    ModelLog,
    ModelSpec,
    ModelStatistics,
    ProcState,
    Statistics,
    UnknownModel,
    Waiting,
)

PATIENCE = 20.0
"""Seconds after which a wait in a test has failed: a bound for what hangs, out of reach of a busy machine."""


@attrs.frozen
class Reply:
    """A whole answer, as a client sees it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        """The one value of a header; KeyError when it is not there exactly once."""
        values = self.values(name)
        if len(values) != 1:
            raise KeyError(f"{name}: {values}")
        return values[0]

    def __contains__(self, name: str) -> bool:
        return bool(self.values(name))

    def values(self, name: str) -> list[str]:
        """Every value of a header."""
        return [
            value.decode("latin-1") for key, value in self.headers if key.lower() == name.lower().encode()
        ]


class CutOff(Exception):
    """The connection ended in the middle of an answer."""


@attrs.define(eq=False)
class Client:
    """One connection, on which requests follow each other."""

    stream: trio.SocketStream
    patience: float = PATIENCE
    """Seconds for each step."""
    _parser: h11.Connection | None = attrs.field(default=None, init=False)
    _left: bytes = attrs.field(default=b"", init=False)

    async def send(self, data: bytes) -> None:
        with trio.fail_after(self.patience):
            await self.stream.send_all(data)

    async def ask(self, method: str, path: str, *headers: str, body: bytes | None = None) -> Reply:
        """Send a request and read the answer."""
        await self.send(request(method, path, *headers, body=body))
        return await self.reply(method)

    async def reply(self, method: str = "GET") -> Reply:
        """Read one answer to its end. Raises `CutOff`."""
        head = await self.head(method)
        return attrs.evolve(head, body=await self.rest_of_body())

    @property
    def has_head(self) -> bool:
        """The head of an answer was read."""
        return self._parser is not None

    async def rest_of_body(self) -> bytes:
        """Read what is left of an answer's body. Raises `CutOff`."""
        body = bytearray()
        while (data := await self.piece()) is not None:
            body += data
        return bytes(body)

    async def head(self, method: str = "GET") -> Reply:
        """Read status and headers of one answer."""
        self._parser = h11.Connection(h11.CLIENT)
        self._parser.send(h11.Request(method=method, target="/", headers=[("host", "test")]))
        self._parser.send(h11.EndOfMessage())
        if self._left:
            self._parser.receive_data(self._left)
            self._left = b""
        while True:
            match await self._next_event():
                case h11.Response() as response:
                    return Reply(response.status_code, list(response.headers.raw_items()), b"")
                case h11.InformationalResponse():
                    continue
                case event:
                    raise CutOff(repr(event))

    async def piece(self) -> bytes | None:
        """Read what comes next of the answer's body; None at its end. Raises `CutOff`."""
        assert self._parser is not None
        match await self._next_event():
            case h11.Data(data=data):
                return bytes(data)
            case h11.EndOfMessage():
                self._left = self._parser.trailing_data[0]
                return None
            case event:
                raise CutOff(repr(event))

    async def _next_event(self) -> object:
        assert self._parser is not None
        with trio.fail_after(self.patience):
            while True:
                try:
                    event = self._parser.next_event()
                except h11.RemoteProtocolError as error:
                    raise CutOff(str(error)) from None
                if event is not h11.NEED_DATA:
                    return event
                self._parser.receive_data(await self._receive())

    async def _receive(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some(65536))
        except trio.BrokenResourceError:
            return b""

    async def rest(self) -> bytes:
        """Read raw bytes until the server closes."""
        data, self._left = bytearray(self._left), b""
        with trio.fail_after(self.patience):
            while piece := await self._receive():
                data += piece
        return bytes(data)


def request(method: str, path: str, *headers: str, body: bytes | None = None) -> bytes:
    """Return the bytes of a request; ``headers`` are whole lines."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


# -- the server under test -----------------------------------------------------------


@attrs.define(eq=False)
class Server:
    """A running server."""

    port: int
    drain: Drain
    _clients: list[trio.SocketStream] = attrs.field(factory=list[trio.SocketStream], init=False)

    async def client(self) -> Client:
        """Connect; closed when the server is gone."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self._clients.append(stream)
        return Client(stream)

    async def until_refused(self) -> None:
        """Wait until nobody accepts connections any more."""
        with trio.fail_after(PATIENCE):
            while True:
                try:
                    stream = await trio.open_tcp_stream("127.0.0.1", self.port)
                except OSError:
                    return
                stream.socket.close()

    def disconnect(self) -> None:
        for stream in self._clients:
            stream.socket.close()


@asynccontextmanager
async def serving(
    app: ASGIFramework, limits: ServerLimits | None = None, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Server]:
    """Serve ``app`` on a free port for the length of the block."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=512)
    sock.setblocking(False)
    server = Server(sock.getsockname()[1], Drain())
    async with trio.open_nursery() as nursery:
        await nursery.start(
            partial(
                serve_http, app, [sock], drain=server.drain, limits=limits or ServerLimits(cut=1.0), tls=tls
            )
        )
        try:
            yield server
        finally:
            server.drain.cut.set()
            server.disconnect()


# -- the other side -------------------------------------------------------------------


@attrs.frozen
class Seen:
    """A request as an upstream got it."""

    line: str
    headers: list[tuple[str, str]]
    """Names in lower case."""
    body: bytes
    """A chunked one with its framing."""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def __contains__(self, name: str) -> bool:
        return bool(self.values(name))

    def __getitem__(self, name: str) -> str:
        (value,) = self.values(name)
        return value


Answer = Callable[[Seen, trio.SocketStream], Awaitable[object]]
"""Answers one request; to end the connection, close the stream."""


@attrs.define(eq=False)
class Upstream:
    """A scripted upstream server, with everything it was asked."""

    port: int
    seen: list[Seen] = attrs.field(factory=list[Seen], init=False)
    connections: int = attrs.field(default=0, init=False)
    open_connections: int = attrs.field(default=0, init=False)
    client_gone: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Some connection was closed by the other side."""

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(f"http://127.0.0.1:{self.port}")


def plain(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return the bytes of a response with a length."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def always(response: bytes) -> Answer:
    """An upstream that answers every request with the same bytes."""

    async def answer(seen: Seen, stream: trio.SocketStream) -> None:
        await stream.send_all(response)

    return answer


@asynccontextmanager
async def upstream(answer: Answer, *, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[Upstream]:
    """Run an upstream for the length of the block."""
    listeners = await trio.open_tcp_listeners(port, host=host)
    found = Upstream(listeners[0].socket.getsockname()[1])

    async def converse(stream: trio.SocketStream) -> None:
        found.connections += 1
        found.open_connections += 1
        received = bytearray()
        try:
            while (seen := await _read_request(stream, received)) is not None:
                found.seen.append(seen)
                await answer(seen, stream)
            found.client_gone.set()
        except trio.BrokenResourceError:
            found.client_gone.set()
        except trio.ClosedResourceError:
            pass  # the script closed it
        finally:
            found.open_connections -= 1
            stream.socket.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, converse, listeners)
        try:
            yield found
        finally:
            nursery.cancel_scope.cancel()


async def _read_request(stream: trio.SocketStream, received: bytearray) -> Seen | None:
    while b"\r\n\r\n" not in received:
        if not (data := await stream.receive_some(65536)):
            return None
        received += data
    head, _, rest = bytes(received).partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (each.partition(":") for each in lines)]
    if dict(headers).get("transfer-encoding") == "chunked":
        while not rest.endswith(END):
            if not (data := await stream.receive_some(65536)):
                return None
            rest += data
        received.clear()
        return Seen(line, headers, rest)
    length = int(dict(headers).get("content-length", "0"))
    body = bytearray(rest)
    while len(body) < length:
        if not (data := await stream.receive_some(65536)):
            return None
        body += data
    received[:] = body[length:]
    return Seen(line, headers, bytes(body[:length]))


# -- all of it together ----------------------------------------------------------------


@attrs.define(eq=False)
class StubFleet:
    """Stands in for the supervisor: every model is ready at its endpoint, or fails as it was told."""

    endpoints: dict[str, Endpoint]
    failures: dict[str, list[Exception]] = attrs.field(factory=dict[str, list[Exception]])
    """Raised by the next leases of a model, one each."""
    states: dict[str, ProcState] = attrs.field(factory=dict[str, ProcState])
    leases: list[str] = attrs.field(factory=list[str])
    logs: dict[str, ModelLog] = attrs.field(factory=dict[str, ModelLog])
    wishes: list[tuple[int, float]] = attrs.field(factory=list[tuple[int, float]])
    """Priority and patience of each lease."""
    called: Counter[str] = attrs.field(factory=Counter[str])
    """Callers that each model has."""
    held: int = 0
    calls: list[tuple[str, ...]] = attrs.field(factory=list[tuple[str, ...]])

    @asynccontextmanager
    async def lease(
        self,
        model: ModelId,
        *,
        priority: int = 0,
        give_up_after: float = inf,
        on_wait: Callable[[Waiting], None] | None = None,
    ) -> AsyncGenerator[Endpoint]:
        self.called[model] += 1
        self.wishes.append((priority, give_up_after))
        try:
            await trio.lowlevel.checkpoint()
            self.leases.append(model)
            if self.failures.get(model):
                raise self.failures[model].pop(0)
            if model not in self.endpoints:
                raise UnknownModel(model)
            self.held += 1
            try:
                yield self.endpoints[model]
            finally:
                self.held -= 1
        finally:
            self.called[model] -= 1

    def callers(self, model: ModelId) -> int:
        return self.called[model]

    def state_of(self, model: ModelId) -> ProcState:
        return self.states.get(model, ProcState.STOPPED)

    async def load(self, model: ModelId) -> None:
        async with self.lease(model):
            self.calls.append(("load", model))

    def log(self, model: ModelId) -> ModelLog:
        return self.logs.setdefault(model, ModelLog())

    def pin(self, model: ModelId) -> None:
        self.calls.append(("pin", model))

    def unpin(self, model: ModelId) -> None:
        self.calls.append(("unpin", model))

    def statistics(self) -> Statistics:
        return Statistics(
            {
                ModelId(model): ModelStatistics(self.state_of(ModelId(model)), self.held, 0)
                for model in dict.fromkeys((*self.endpoints, *self.states))
            }
        )

    @property
    def specs(self) -> Mapping[ModelId, ModelSpec]:
        return {ModelId(model): ModelSpec(model, ("true",)) for model in self.endpoints}

    def heard(self, model: ModelId) -> None:
        pass

    async def unload(self, *models: ModelId) -> None:
        await trio.lowlevel.checkpoint()
        self.calls.append(("unload", *models))


@attrs.define(eq=False)
class Rig:
    """A server, its pool, and its fleet."""

    server: Server
    pool: UpstreamPool
    fleet: StubFleet
    live: Live
    measured: Measurements

    async def ask(self, method: str, path: str, *headers: str, body: bytes | None = None) -> Reply:
        """Ask on a connection of its own."""
        client = await self.server.client()
        return await client.ask(method, path, *headers, body=body)

    async def chat(self, body: bytes = b'{"model":"m"}', *headers: str) -> Reply:
        """Ask the model ``m``."""
        return await self.ask("POST", "/v1/chat/completions", JSON, *headers, body=body)


JSON = "Content-Type: application/json"


@asynccontextmanager
async def rig(
    *endpoints: Endpoint,
    config: Configuration | None = None,
    limits: ServerLimits | None = None,
    tls: ssl.SSLContext | None = None,
    ui_files: UiFiles | None = None,
) -> AsyncGenerator[Rig]:
    """Serve one model for each endpoint, called ``m``, ``m2``, …; or those of ``config``."""
    if config is None:
        names = ["m", *(f"m{number}" for number in range(2, len(endpoints) + 1))]
        config = Configuration(models={name: ModelConfig() for name in names})
    pool = UpstreamPool()
    fleet = StubFleet(dict(zip(config.models, endpoints, strict=False)))
    live, measured = Live.of_nothing(fleet, config), Measurements.of(config.performance)
    app = create_app(
        fleet,
        config,
        pool,
        live=live,
        measurements=measured,
        limits=limits or ServerLimits(),
        ui_files=ui_files or UiFiles(),
    )
    async with serving(app, limits, tls) as server:
        try:
            yield Rig(server, pool, fleet, live, measured)
        finally:
            pool.close_all()
