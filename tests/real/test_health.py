"""The health check: what counts as ready, how soon it is seen, and what a server may do wrong meanwhile."""

from __future__ import annotations

import logging
import os
import re
import resource
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
import trio
import trio.testing
from time_taken import seconds_waited, slowness

from swapcore import Endpoint
from swapcore._health import Pace, wait_healthy, what_is_wrong

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# For localhost and 127.0.0.1, until the year 2125: openssl req -x509 -newkey ec -days 36500 ...
LOCALHOST_PEM = """
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgwH18WttfEY5ko4Fv
raO1FuRQ3oSXu6Ot6w9VjbrBUKyhRANCAAS5KaM96mrv32p1GpVcs/sK/NXUwyqy
HX350jLg5Me63R0PDxpqF2QSWRvk91xNw8AaCw9vUqvLQANtnL1oVrpi
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUFk3bcprvYmYxUiAA9BkVJPwCtUcwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTExMjc1MloYDzIxMjYxMDI4
MTEyNzUyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAS5KaM96mrv32p1GpVcs/sK/NXUwyqyHX350jLg5Me63R0PDxpqF2QS
WRvk91xNw8AaCw9vUqvLQANtnL1oVrpio28wbTAdBgNVHQ4EFgQULkWjlNIgbzTg
Vphzw/fefBrQfYswHwYDVR0jBBgwFoAULkWjlNIgbzTgVphzw/fefBrQfYswDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIgEFGTHKpRN+SjakDsAH7j49M2SBFdovWFHVDGnoKWyKsCIQDz
LCdFVEu9GWAh3o2N+bOnfZ0vZBwz64EzMol18NhS/g==
-----END CERTIFICATE-----
"""
Serve = Callable[[trio.SocketStream], Awaitable[None]]


async def listen(nursery: trio.Nursery, serve: Serve, host: str = "127.0.0.1") -> int:
    """Serve every connection with *serve*, and return the port."""
    listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host=host))
    port: int = listeners[0].socket.getsockname()[1]
    return port


class Answers:
    """Gives each connection the next answer, the last one again and again; keeps the requests."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []

    async def __call__(self, stream: trio.abc.Stream) -> None:
        async with stream:
            self.requests.append(bytes(await stream.receive_some(65536)))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer:
                await stream.send_all(answer)


async def check(
    answers: Answers, path: str = "/health", url: str = "http://127.0.0.1:{}", host: str = "127.0.0.1"
) -> int:
    """Wait until *answers* are healthy; return the port."""
    async with trio.open_nursery() as nursery:
        port = await listen(nursery, answers, host)
        with trio.fail_after(20):
            await wait_healthy(Endpoint(url.format(port)), path)
        nursery.cancel_scope.cancel()
    return port


async def asked_in_vain(wait: Callable[[], Awaitable[None]], asked: Sequence[object], times: int = 2) -> None:
    """Wait for a server that cannot be healthy, until it *was asked* so many times."""
    async with trio.open_nursery() as nursery:

        async def fail_if_healthy() -> None:
            await wait()
            raise AssertionError("healthy")

        nursery.start_soon(fail_if_healthy)
        with trio.fail_after(20):
            while len(asked) < times:  # noqa: ASYNC110 - requests send no events
                await trio.sleep(0.002)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 201 Created\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation: /elsewhere\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.1 2000 Odd\r\n\r\n",
        b"",
        b"HTTP/1.1 200",
        b"\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"200 OK\r\n\r\n",
        b"\0" * 70_000,
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\n\r\n",
    ],
)
@pytest.mark.rule("L19")
async def test_what_is_not_ready(first: bytes) -> None:
    answers = Answers(first, OK)
    await check(answers)
    assert len(answers.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 200 \r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
@pytest.mark.rule("L19")
async def test_what_is_ready(answer: bytes) -> None:
    answers = Answers(answer)
    await check(answers)
    assert len(answers.requests) == 1


@pytest.mark.parametrize(
    ("url", "path", "target"),
    [
        ("http://127.0.0.1:{}", "/health", b"/health"),
        ("http://127.0.0.1:{}/", "health", b"/health"),
        ("http://127.0.0.1:{}/base/", "/health?deep=1", b"/base/health?deep=1"),
        ("http://127.0.0.1:{}/base?key=a%20b", "/health?deep=1", b"/base/health?key=a%20b&deep=1"),
        ("http://127.0.0.1:{}?key=1", "/", b"/?key=1"),
        ("http://127.0.0.1:{}", "/caf\u00e9 x\r\nHost: evil", b"/caf%C3%A9%20x%0D%0AHost:%20evil"),
    ],
)
@pytest.mark.rule("L18")
async def test_the_request(url: str, path: str, target: bytes) -> None:
    answers = Answers(OK)
    port = await check(answers, path, url)
    line, *headers = answers.requests[0].removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert line == b"GET " + target + b" HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}".encode() in headers
    assert b"Connection: close" in headers


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_localhost_is_both_families(host: str) -> None:
    answers = Answers(OK)
    await check(answers, url="http://localhost:{}", host=host)
    assert b"Host: localhost:" in answers.requests[0]


async def test_an_address_of_the_newer_family() -> None:
    answers = Answers(OK)
    port = await check(answers, url="http://[::1]:{}", host="::1")
    assert f"Host: [::1]:{port}".encode() in answers.requests[0]


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "localhost.pem"
    path.write_text(LOCALHOST_PEM)
    return path


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_https(pem: Path, host: str) -> None:
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(pem)
    answers, distrusted = Answers(OK), list[trio.BrokenResourceError]()

    async def serve(stream: trio.SocketStream) -> None:
        try:
            await answers(trio.SSLStream(stream, theirs, server_side=True, https_compatible=True))
        except trio.BrokenResourceError as error:
            distrusted.append(error)

    async with trio.open_nursery() as nursery:
        endpoint = Endpoint(f"https://{host}:{await listen(nursery, serve)}")
        with trio.fail_after(20):
            await wait_healthy(endpoint, "/health", tls=ssl.create_default_context(cafile=pem))
        assert answers.requests[0].startswith(b"GET /health HTTP/1.1\r\n")
        assert not distrusted
        await asked_in_vain(partial(wait_healthy, endpoint, "/health"), distrusted)
        nursery.cancel_scope.cancel()


async def test_a_server_without_tls_is_not_ready_for_https() -> None:
    answers = Answers(OK)
    async with trio.open_nursery() as nursery:
        port = await listen(nursery, answers)
        await asked_in_vain(
            partial(wait_healthy, Endpoint(f"https://127.0.0.1:{port}"), "/"),
            answers.requests,
        )
        assert answers.requests[0][:1] == b"\x16", "a TLS handshake"
        nursery.cancel_scope.cancel()


class NoNames(trio.abc.HostnameResolver):
    """Knows no name, and at once: a resolver elsewhere may take its time to say so."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def getaddrinfo(self, host: bytes | None, *more: object) -> NoReturn:
        self.asked.append(host)
        await trio.lowlevel.checkpoint()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *anything: object) -> NoReturn:
        raise NotImplementedError


async def test_a_name_that_means_nothing_is_not_ready() -> None:
    names = NoNames()
    trio.socket.set_custom_hostname_resolver(names)
    await asked_in_vain(partial(wait_healthy, Endpoint("http://no-such-host.invalid:1"), "/"), names.asked)
    trio.socket.set_custom_hostname_resolver(None)


async def test_a_name_that_cannot_be_one_is_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "swapcore")
    endpoint = Endpoint(f"http://{'a' * 64}.invalid:1")
    await asked_in_vain(partial(wait_healthy, endpoint, "/"), caplog.records, times=1)
    assert "breaks the connection" in caplog.text


# -- time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [0.0, 0.1, 0.3, 0.7])
@pytest.mark.rule("G21", "L17", "L20")
async def test_ready_is_seen_within_60_ms(load: float) -> None:
    ready_at = trio.current_time() + load

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(65536)
            loaded = trio.current_time() >= ready_at
            await stream.send_all(OK if loaded else b"HTTP/1.1 503 Loading\r\n\r\n")

    async with trio.open_nursery() as nursery:
        port = await listen(nursery, serve)
        ready_at, waited = trio.current_time() + load, seconds_waited()
        await wait_healthy(Endpoint(f"http://127.0.0.1:{port}"), "/health")
        assert trio.current_time() - ready_at - (seconds_waited() - waited) < 0.05 + 0.01 * slowness()
        nursery.cancel_scope.cancel()


@pytest.mark.rule("G7", "L21")
@pytest.mark.rule("L184", "L169")
async def test_a_hung_probe_is_given_up_after_five_seconds(autojump_clock: trio.testing.MockClock) -> None:
    # A virtual clock over real sockets: the real time that it leaves them is ample for the loopback.
    autojump_clock.autojump_threshold = 0.02
    connections = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        async with stream:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        port = await listen(nursery, serve)
        with trio.move_on_after(14.9):
            await wait_healthy(Endpoint(f"http://127.0.0.1:{port}"), "/health")
        assert connections == 3
        nursery.cancel_scope.cancel()


@contextmanager
def no_descriptor_left() -> Generator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_having_no_descriptor_left_says_nothing_about_the_server(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "swapcore")
    async with trio.open_nursery() as nursery:
        endpoint = Endpoint(f"http://{host}:{await listen(nursery, Answers(OK))}")
        async with trio.open_nursery() as waiting:
            with no_descriptor_left():
                waiting.start_soon(wait_healthy, endpoint, "/")
                with pytest.raises(OSError, match="Too many open files"):
                    os.dup(0)
                assert await what_is_wrong(endpoint, "/") is None
                with trio.fail_after(20):
                    while "no descriptor is left to ask with" not in caplog.text:  # noqa: ASYNC110 - a log
                        await trio.sleep(0.002)
        assert await what_is_wrong(endpoint, "/") is None
        nursery.cancel_scope.cancel()


@pytest.mark.rule("L20")
def test_the_pace() -> None:
    pace = Pace()
    assert [pace.after(waited) for waited in (0, 0.04, 0.2, 0.5, 29.9, 30, 999)] == [
        0.005, 0.005, pytest.approx(0.02), 0.05, 0.05, 0.25, 0.25,
    ]  # fmt: skip


@pytest.mark.rule("G21")
async def test_polling_takes_less_than_a_hundredth_of_a_processor() -> None:
    """At the pace that it keeps for most of a load, without what being woken up costs on this machine.

    The best of five, or the first that will do, as a busy machine adds to each.
    """
    steady = Pace(shortest=Pace().longest)

    async def only_wake_up() -> None:
        while True:  # noqa: ASYNC110 - what it is woken up for is nothing
            await trio.sleep(0.05)

    async def share_of(task: Callable[[], Awaitable[None]]) -> float:
        began, busy = trio.current_time(), time.thread_time()
        with trio.move_on_after(0.4):
            await task()
        return (time.thread_time() - busy) / (trio.current_time() - began)

    poll = partial(wait_healthy, Endpoint("http://127.0.0.1:1"), "/health", pace=steady)
    for _ in range(5):
        share = await share_of(poll) - await share_of(only_wake_up)
        if share < 0.01 * slowness():
            break
    assert share < 0.01 * slowness()


@pytest.mark.rule("G43")
async def test_one_line_for_each_phase(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "swapcore")
    no = b"HTTP/1.1 503 Loading\r\n\r\n"
    async with trio.open_nursery() as nursery:
        port = await listen(nursery, Answers(no, no, no, b"", b"", OK))
        await wait_healthy(Endpoint(f"http://127.0.0.1:{port}"), "/", name="qwen")
        nursery.cancel_scope.cancel()
    *phases, last = [record.getMessage() for record in caplog.records]
    assert phases == [
        f"qwen: health check at http://127.0.0.1:{port}: answers 503",
        f"qwen: health check at http://127.0.0.1:{port}: answers nothing",
    ]
    assert re.fullmatch(r"qwen: healthy after \d+\.\d{3} s", last)
