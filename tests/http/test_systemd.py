"""What systemd is told, and what it hands over."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import IO

import attrs
import pytest
import trio
import trio.testing
from reload_under_load import STEADY, prepared
from served_models import serving

from swapcli._systemd import Systemd


@attrs.define(eq=False)
class Notified:
    """The other end of ``NOTIFY_SOCKET``."""

    socket: socket.socket

    def next(self, *, but: str = "WATCHDOG=1") -> list[str]:
        """Return the lines of the next message other than *but*."""
        while (message := self.socket.recv(4096).decode()) == but:
            pass
        return message.split("\n")

    def forget(self) -> None:
        """Do not read what was sent until now."""
        self.socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self.socket.recv(4096)


@pytest.fixture
def notified(tmp_path: Path) -> Generator[tuple[Notified, str]]:
    address = str(tmp_path / "notify")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(address)
        receiver.settimeout(20)
        yield Notified(receiver), address


def test_it_is_told_of_every_step(notified: tuple[Notified, str], tmp_path: Path) -> None:
    systemd, address = notified
    sources = prepared(tmp_path)
    with serving(sources.file, tmp_path / "log", environ={"NOTIFY_SOCKET": address}) as server:
        ready, status = systemd.next()
        assert (ready, status) == ("READY=1", f"STATUS=listening on {server.url}")
        assert server.get("/health") == b"OK"
        before = time.monotonic_ns()
        server.process.send_signal(signal.SIGHUP)
        reloading, at = systemd.next()
        assert reloading == "RELOADING=1"
        assert before < int(at.removeprefix("MONOTONIC_USEC=")) * 1000 < time.monotonic_ns()
        assert systemd.next() == ["READY=1", "STATUS=nothing changed"]
        server.get(f"/api/models/load/{STEADY}", method="POST")
        others = set(server.children.alive()) - {server.process.pid}
        assert others
        for pid in others:  # what is meant for the server is no business of a model
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()
        server.process.send_signal(signal.SIGTERM)
        assert systemd.next()[0] == "STOPPING=1"
        assert server.process.wait(20) == 0


# On SIGUSR1 its event loop stands still, and its threads do not.
HANGING = """
import os, signal, time
from swapcli.__main__ import main
def hang(*_):
    os.write(1, b"hangs")
    while not os.path.exists({go_on!r}):
        time.sleep(0.01)
signal.signal(signal.SIGUSR1, hang)
main()
"""


def test_the_watchdog_sees_a_server_that_hangs(notified: tuple[Notified, str], tmp_path: Path) -> None:
    systemd, address = notified
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "600000"}
    go_on = tmp_path / "go-on"
    program = ("-c", HANGING.format(go_on=str(go_on)))
    with serving(prepared(tmp_path).file, tmp_path / "log", environ=environ, program=program) as server:
        for _ in range(4):
            systemd.next(but="READY=1")
        server.process.send_signal(signal.SIGUSR1)
        server.wait_for_log("hangs")
        systemd.forget()
        systemd.socket.settimeout(1)
        with pytest.raises(TimeoutError):
            systemd.socket.recv(4096)
        go_on.touch()
        systemd.socket.settimeout(20)
        assert systemd.socket.recv(4096) == b"WATCHDOG=1"


def test_an_abstract_address() -> None:
    name = f"swapcli-{os.getpid()}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(f"\0{name}")
        receiver.settimeout(20)
        Systemd.of_environment({"NOTIFY_SOCKET": f"@{name}"}).ready("here")
        assert receiver.recv(4096) == b"READY=1\nSTATUS=here"


def test_a_watchdog_for_another_process_is_not_ours() -> None:
    environ = {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1", "LISTEN_FDS": "2", "LISTEN_PID": "1"}
    systemd = Systemd.of_environment(environ)
    assert (systemd.watchdog_seconds, systemd.sockets(), environ) == (None, (), {})
    assert Systemd.of_environment({"WATCHDOG_USEC": "1500000"}).watchdog_seconds == 1.5


@pytest.mark.parametrize("nonsense", ["", "0", "²", "٣", "-1", "1e3", "9" * 400, "9" * 5000])
def test_numbers_that_make_no_sense_are_nobodys_wish(nonsense: str) -> None:
    environ = {"WATCHDOG_USEC": nonsense, "LISTEN_FDS": nonsense, "LISTEN_PID": str(os.getpid())}
    systemd = Systemd.of_environment(environ)
    assert (systemd.watchdog_seconds, systemd.sockets()) == (None, ())


async def test_a_watchdog_that_is_never_satisfied_gets_no_more_than_it_should(
    notified: tuple[Notified, str], autojump_clock: trio.testing.MockClock
) -> None:
    receiver, address = notified
    systemd = Systemd.of_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1"})
    with trio.move_on_after(0.045):
        await systemd.keep_watchdog_quiet()
    receiver.socket.setblocking(False)
    for _ in range(5):
        assert receiver.socket.recv(100) == b"WATCHDOG=1"
    with pytest.raises(BlockingIOError):
        receiver.socket.recv(100)


def test_a_receiver_that_is_full_or_gone_disturbs_nobody(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    systemd = Systemd.of_environment({"NOTIFY_SOCKET": address})
    systemd.ready("nobody there")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(address)
        for _ in range(2000):
            systemd.ready("x" * 100)


HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def handed(sock: socket.socket | IO[bytes], tmp_path: Path) -> subprocess.Popen[bytes]:
    config = str(prepared(tmp_path).file)
    command = [
        sys.executable,
        "-c",
        HAND_OVER,
        str(sock.fileno()),
        "-m",
        "swapcli",
        "serve",
        "--config",
        config,
    ]
    return subprocess.Popen(
        command, pass_fds=(sock.fileno(),), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_requests_that_came_before_the_server_are_answered_by_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        early = socket.create_connection(("127.0.0.1", port))
        early.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with handed(sock, tmp_path) as process, closing(early):
            early.settimeout(20)
            assert early.recv(4096).startswith(b"HTTP/1.1 200")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=20) as answer:
                assert answer.read() == b"OK"
            process.terminate()
            assert process.wait(20) == 0
            assert process.stdout is not None
            assert f"listening on http://127.0.0.1:{port}\n".encode() in process.stdout.read()
        socket.create_connection(("127.0.0.1", port)).close()  # it is still systemd's


def test_what_is_no_listening_tcp_socket_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file, handed(file, tmp_path) as process:
        assert process.wait(20) == 1
        assert process.stdout is not None
        assert b"descriptor 3, which systemd passed, is no socket: " in process.stdout.read()
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as sock:
        sock.bind(str(tmp_path / "s"))
        sock.listen()
        with handed(sock, tmp_path) as process:
            assert process.wait(20) == 1
            assert process.stdout is not None
            assert b"swapcli: descriptor 3, which systemd passed, is no TCP socket\n" in process.stdout.read()
