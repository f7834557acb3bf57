"""TCP's own probes, which find out that the machine at the other end has gone without a word."""

from __future__ import annotations

import socket
from math import inf

import trio


def keep_alive(sock: trio.socket.SocketType, seconds: float) -> None:
    """Probe after as many *seconds* of silence, and as often again, as Go does; ``inf``: never.

    How many probes must fail is the system's setting; on Linux 9.

    Raises:
      OSError: the connection is broken already.
    """
    if seconds == inf:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL"):  # macOS has the second for the first
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, max(1, int(seconds)))
