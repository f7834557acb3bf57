"""Sockets are bound first, and say clearly when they cannot be."""

from __future__ import annotations

import socket

import pytest

from swapcli._listen import AddressTaken, CannotListen, ListenAddress
from swapcli.http import bind, url_of


@pytest.mark.parametrize("text", ["127.0.0.1:0", ":0", "localhost:0"])
def test_bound_sockets_accept_and_share_a_port(text: str) -> None:
    sockets = bind(ListenAddress.parse(text))
    try:
        ports = {sock.getsockname()[1] for sock in sockets}
        assert len(ports) == 1
        (port,) = ports
        assert all(url_of(sock).endswith(f":{port}") for sock in sockets)
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    finally:
        for sock in sockets:
            sock.close()


def test_an_address_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressTaken, match=f"127.0.0.1:{port} is taken"):
            bind(ListenAddress("127.0.0.1", port))


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours(host: str) -> None:
    with pytest.raises(CannotListen, match=host):
        bind(ListenAddress(host, 0))


def test_ipv6_urls_have_brackets() -> None:
    with socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        assert url_of(sock) == f"http://[::1]:{sock.getsockname()[1]}"
