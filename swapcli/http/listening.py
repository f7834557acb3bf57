"""Sockets that are bound before anything else starts, so that "address in use" is the first thing said."""

from __future__ import annotations

import errno
import socket
import sys

from swapcli._listen import ListenAddress, cannot_listen

_BACKLOG = 512
_NOT_ON_THIS_MACHINE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


def bind(address: ListenAddress) -> tuple[socket.socket, ...]:
    """Bind and listen on ``address``: one socket for each IP address that its host stands for.

    An empty host is every interface, IPv4 and IPv6. With port 0 all sockets get the same free port.

    Raises:
      CannotListen: the address is taken, is not ours, or its name is unknown.
    """
    try:
        found = socket.getaddrinfo(
            address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise cannot_listen(address, error) from error
    sockets: list[socket.socket] = []
    port, missing = address.port, OSError(errno.EADDRNOTAVAIL, "no address to listen on")
    for family, sockaddr in dict.fromkeys((entry[0], entry[4]) for entry in sorted(found)):
        try:
            sockets.append(_listening_socket(family, (sockaddr[0], port, *sockaddr[2:])))
        except OSError as error:
            if error.errno in _NOT_ON_THIS_MACHINE:  # without IPv6, localhost may still be listed as ::1
                missing = error
                continue
            for sock in sockets:
                sock.close()
            raise cannot_listen(address, error) from error
        port = sockets[-1].getsockname()[1]
    if not sockets:
        raise cannot_listen(address, missing) from missing
    return tuple(sockets)


def url_of(sock: socket.socket, scheme: str = "http") -> str:
    """Return the base URL of a bound socket, with the port that it really has."""
    host, port = sock.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _listening_socket(family: int, sockaddr: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # on Windows it would let a second program take the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted connections inherit it; a streamed token must not wait for the next one.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(sockaddr)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
