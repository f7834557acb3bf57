"""Listen addresses: how they are read, and what is said when they cannot be used."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from swapcli._listen import (
    AddressTaken,
    CannotListen,
    ListenAddress,
    cannot_listen,
    network_note,
    url_from_here,
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        (":8080", "", 8080),
        ("[::1]:8080", "::1", 8080),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("localhost:0", "localhost", 0),
        ("some-host.example:65535", "some-host.example", 65535),
    ],
)
def test_a_listen_address_is_read_and_written(text: str, host: str, port: int) -> None:
    address = ListenAddress.parse(text)
    assert address == ListenAddress(host, port)
    assert str(address) == text
    assert ListenAddress.parse(f" {text} ") == address


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no port"),
        ("8080", "has no port"),
        ("localhost", "has no port"),
        ("localhost:", "is no port"),
        ("localhost:http", "is no port"),
        ("localhost:-1", "is no port"),
        ("localhost:65536", "is no port"),
        ("localhost:\u0661", "is no port"),
        ("::1:8080", "in brackets"),
        ("[::1]", "in brackets"),
        ("[::g]:80", "no IPv6 address"),
        ("[127.0.0.1]:80", "no IPv6 address"),
        ("http://x:80", "in brackets"),
        ("a/b:80", "is no host"),
        ("a b:80", "is no host"),
    ],
)
def test_a_bad_listen_address_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ListenAddress.parse(text)


@pytest.mark.rule("C7")
@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("LOCALHOST:1", True),
        (":1", False),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("host.example:1", False),
    ],
)
def test_who_can_reach_an_address(text: str, loopback: bool) -> None:
    assert ListenAddress.parse(text).is_loopback == loopback


def test_a_taken_address_comes_with_another_to_try() -> None:
    taken = cannot_listen(ListenAddress("127.0.0.1", 8080), OSError(errno.EADDRINUSE, "in use"))
    assert isinstance(taken, AddressTaken)
    assert str(taken) == (
        "127.0.0.1:8080 is taken by another program; choose another with --listen 127.0.0.1:8081"
    )
    assert str(ListenAddress("", 65535).next_port) == ":0"


def test_other_reasons_are_given_as_the_system_gives_them() -> None:
    denied = cannot_listen(ListenAddress("", 80), PermissionError(errno.EACCES, "x"))
    assert type(denied) is CannotListen
    assert str(denied).startswith(f"cannot listen on :80: {os.strerror(errno.EACCES)}")


def test_an_unknown_host_is_said_in_words() -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    unknown = cannot_listen(ListenAddress("no.such.host", 80), error)
    assert str(unknown).startswith("cannot listen on no.such.host:80: Name or service not known;")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://[::]:8080", "http://[::1]:8080"),
        ("http://10.0.0.1:8080", "http://10.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_wildcard_is_no_destination(url: str, expected: str) -> None:
    assert url_from_here(url) == expected


def test_who_else_can_reach_the_server_is_said() -> None:
    assert network_note(["http://127.0.0.1:8080", "http://[::1]:8080"]) is None
    note = network_note(["http://0.0.0.0:8080", "http://[::]:8080"])
    assert note == "other machines can reach this server; on this one it is http://127.0.0.1:8080"
