"""Where the server listens: the address as written, and what to say when it cannot be used."""

from __future__ import annotations

import errno
import ipaddress
import os
from collections.abc import Sequence
from urllib.parse import urlsplit

import attrs


@attrs.frozen
class ListenAddress:
    """A host (name or IP address, empty: every interface) and a port (0: any free one).

    ``ListenAddress.parse("127.0.0.1:8080")``; ``str()`` gives what ``parse`` takes.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """Read ``HOST:PORT``, ``:PORT`` or ``[IPv6]:PORT``.

        Raises:
          ValueError: it is none of these; the message says what is wrong.
        """
        host, colon, port = text.strip().rpartition(":")
        if not colon:
            raise ValueError(f"{text!r} has no port; write HOST:PORT, for example 127.0.0.1:8080")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            try:
                ipaddress.IPv6Address(host)
            except ValueError:
                raise ValueError(f"{text!r}: {host!r} is no IPv6 address") from None
        elif ":" in host:
            raise ValueError(f"{text!r}: write an IPv6 address in brackets, for example [::1]:8080")
        elif any(character in "[]/@?#" or character.isspace() for character in host):
            raise ValueError(f"{text!r}: {host!r} is no host; write HOST:PORT, for example 127.0.0.1:8080")
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            raise ValueError(f"{text!r}: {port!r} is no port; it is a number from 0 to 65535")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach it. A name other than ``localhost`` is not looked up: false."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def next_port(self) -> ListenAddress:
        """The same host, one port further: something to suggest. After the last port comes any free one."""
        return attrs.evolve(self, port=(self.port + 1) % 65536)


def url_from_here(url: str) -> str:
    """The ``url`` of a bound socket as a program on this machine uses it: a wildcard is no destination."""
    parts = urlsplit(url)
    match parts.hostname:
        case "0.0.0.0":
            return parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl()
        case "::":
            return parts._replace(netloc=f"[::1]:{parts.port}").geturl()
        case _:
            return url


def network_note(urls: Sequence[str]) -> str | None:
    """What to tell the user if others can reach a server bound to ``urls``, which hold IP addresses."""
    if all(ListenAddress(urlsplit(url).hostname or "", 0).is_loopback for url in urls):
        return None
    return f"other machines can reach this server; on this one it is {url_from_here(urls[0])}"


class CannotListen(Exception):
    """The address cannot be listened on. ``str()`` is one line for the user."""

    def __init__(self, address: ListenAddress, reason: str) -> None:
        super().__init__(reason)
        self.address = address


class AddressTaken(CannotListen):
    """Another program listens on the address already."""

    def __init__(self, address: ListenAddress) -> None:
        super().__init__(
            address,
            f"{address} is taken by another program; choose another with --listen {address.next_port}",
        )


def cannot_listen(address: ListenAddress, error: OSError) -> CannotListen:
    """The exception to raise when binding ``address`` failed with ``error``; the caller raises it."""
    if error.errno == errno.EADDRINUSE:
        return AddressTaken(address)
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else (error.strerror or str(error))
    return CannotListen(address, f"cannot listen on {address}: {why}; choose another address with --listen")
