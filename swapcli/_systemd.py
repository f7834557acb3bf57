"""What systemd and this server tell each other. Without systemd every function here does nothing.

The protocols are those of sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3).
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

import attrs
import trio

_FIRST_DESCRIPTOR = 3
_VARIABLES = (
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
    "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
)  # fmt: skip


_SHORTEST_PAUSE = 0.01
"""Seconds between two signs of life. Who wants them faster gets no work done at all."""
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


@attrs.frozen
class Systemd:
    """What the environment said, taken out of it: it is meant for this process, and not for the models'."""

    _notify_address: str = ""
    watchdog_seconds: float | None = None
    """The service counts as hung when it is silent for so long; ``None``: nobody looks."""
    _descriptors: int = 0

    @classmethod
    def of_environment(cls, environ: MutableMapping[str, str]) -> Systemd:
        """Take what is addressed to this process out of *environ*."""
        told = {name: environ.pop(name, "") for name in _VARIABLES}
        me = str(os.getpid())
        microseconds = _number(told["WATCHDOG_USEC"]) if told["WATCHDOG_PID"] in ("", me) else 0
        return cls(
            told["NOTIFY_SOCKET"],
            microseconds / 1e6 if microseconds else None,
            _number(told["LISTEN_FDS"]) if told["LISTEN_PID"] == me else 0,
        )

    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets that systemd opened, for the caller to close. Call it once.

        Raises:
          OSError: a descriptor is no TCP socket that listens.
        """
        found: list[socket.socket] = []
        for descriptor in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + self._descriptors):
            try:
                sock = socket.socket(fileno=descriptor)
            except OSError as error:
                why = f"descriptor {descriptor}, which systemd passed, is no socket: {error.strerror}"
                raise OSError(why) from error
            sock.set_inheritable(False)
            sock.setblocking(False)
            if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise OSError(f"descriptor {descriptor}, which systemd passed, does not listen")
            if sock.family not in (socket.AF_INET, socket.AF_INET6):
                raise OSError(f"descriptor {descriptor}, which systemd passed, is no TCP socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            found.append(sock)
        return tuple(found)

    def ready(self, status: str) -> None:
        """Requests are accepted, or a reload has ended; *status* is what ``systemctl status`` shows."""
        self._notify(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """The configuration is being read again. `ready` ends it."""
        # Type=notify-reload wants to know that this is the answer to its signal, hence the time.
        self._notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._notify("STOPPING=1\nSTATUS=waiting for requests and models to end")

    async def keep_watchdog_quiet(self) -> None:
        """Show signs of life until cancelled: the event loop turns. Returns at once if nobody looks."""
        if self.watchdog_seconds is None:
            return
        while True:
            self._notify("WATCHDOG=1")
            await trio.sleep(max(self.watchdog_seconds / 3, _SHORTEST_PAUSE))

    def _notify(self, message: str) -> None:
        if not self._notify_address:
            return
        address = self._notify_address
        if address.startswith("@"):
            address = "\0" + address[1:]
        # Never more than a courtesy: a full or missing socket must not disturb the server.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(address)
            sender.send(message.encode())


def _number(text: str) -> int:
    """0, if it is none that systemd would write."""
    return int(text) if _NUMBER.fullmatch(text) else 0
