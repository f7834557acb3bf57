"""The commands that talk to a server, where something else answers, or where they cannot print."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from swapcli._cli import swapcli as command

JSON_COMMANDS = (["ps"], ["ps", "--json"], ["load", "m"], ["unload"], ["reload"], ["top", "--count", "1"])
ALL_COMMANDS = (*JSON_COMMANDS, ["logs", "m"], ["logs", "--json", "m"], ["reload", "--json"])
MODEL: dict[str, Any] = {
    "id": "плэйн\x1b[2J", "state": "ready", "seconds_in_state": 1, "leases": 0, "waiting": 0, "pinned": False,
    "memory_bytes": None, "load_seconds": 0.5, "requests": 1, "starts": 1, "crashes": 0,
}  # fmt: skip
SWAP: dict[str, Any] = {
    "seconds_ago": 1, "target": "m", "evicted": [], "reason": "", "stop_seconds": None, "load_seconds": None,
    "error": "m: exited; its last output: \x1b]0;owned\x07",
}  # fmt: skip
FLEET = {"models": [MODEL], "swaps": [SWAP], "leases": 0, "waiting": 0}


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Answer every connection with these bytes, and close it; yields the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    request = b""
                    while b"\r\n\r\n" not in request:
                        request += connection.recv(65536) or b"\r\n\r\n"
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        with suppress(OSError):  # ends the accept
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(20)


def http(body: bytes, status: bytes = b"200 OK", *, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, size, body)


def run(url: str, *arguments: str) -> Result:
    env = {"SWAPCLI_URL": url, "SWAPCLI_API_KEY": ""}
    return CliRunner().invoke(command, arguments, env=env, prog_name="swapcli")


def is_one_line(result: Result) -> bool:
    lines = result.stderr.splitlines()
    return isinstance(result.exception, SystemExit) and result.exit_code == 1 and len(lines) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"null", b"[]", b"hello", b"{}", b"", b"\x1f\x8b\x08", b"[" * 100_000, b"9" * 10_000,
        b'{"models":null}', b'{"models":[1],"swaps":[],"leases":0,"waiting":0}',
        b'{"summary":"","warnings":[1]}',
    ],
    ids=lambda body: repr(body[:40]),
)  # fmt: skip
def test_an_answer_of_another_shape_is_told_in_a_line(body: bytes) -> None:
    with answering(http(body)) as url:
        for arguments in JSON_COMMANDS:
            result = run(url, *arguments)
            assert is_one_line(result), (arguments, result.output, result.exception)
            assert "is no swapcli server" in result.stderr


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(b"", b"302 Found"), "is no swapcli server: 302 Found"),
        (http(b"", b"204 No Content"), "is no swapcli server: 204 No Content"),
        (http(b"[1]", b"500 Oops"), "is no swapcli server: 500 Oops"),
        (http(b'{"src":"swapcli","error":null}', b"500 Oops"), "is no swapcli server: 500 Oops"),
        (http(b'{"src":"swapcli","error":"x"}', b"500 Oops"), "is no swapcli server: 500 Oops"),
        (http(b'{"src":"swapcli","error":{"message":"why"},"problems":[1]}', b"422 No"), "swapcli: why"),
        (http(b'{"models":[', length=1000), "has gone"),
        (b"\0\xff\x1b[2J\r\n" * 100, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", "has gone"),
    ],
)
def test_an_answer_that_is_none_is_told_in_a_line(answer: bytes, said: str) -> None:
    with answering(answer) as url:
        for arguments in ALL_COMMANDS:
            if b"problems" in answer and "--json" in arguments:
                continue  # it is the answer that is printed then
            result = run(url, *arguments)
            assert said in result.stderr, (arguments, result.output, result.exception)
            assert "--json" in arguments or arguments[0] == "logs" or is_one_line(result)
            assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("url", ["http://[::1", "http://a..b", " ", "http://x y", f"http://{'x' * 64}.org"])
def test_what_is_no_address_is_told_in_a_line(url: str) -> None:
    result = run(url, "ps")
    assert is_one_line(result), result.exception
    assert "is no URL of a server" in result.stderr


def test_a_key_of_two_lines_is_told_in_a_line() -> None:
    with answering(http(b"{}")) as url:
        result = run(url, "ps", "--api-key", "a\nb")
    assert is_one_line(result), result.exception
    assert "a key is one line" in result.stderr


def test_names_and_paths_that_are_no_ascii_or_no_text_at_all() -> None:
    with answering(http(b"{}")) as url:
        for arguments in (("load", "\udcff"), ("load", "плэйн"), ("ps", "--url", f"{url}/ö")):
            assert "one of another version" in run(url, *arguments).stderr, arguments


def test_what_a_terminal_obeys_is_not_printed() -> None:
    with answering(http(json.dumps(FLEET).encode())) as url:
        for arguments in (("ps",), ("top", "--count", "1")):
            printed = run(url, *arguments).stdout
            assert "плэйн�[2J" in printed
            assert not {"\x1b", "\x07"} & set(printed)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_locale_without_the_letters_of_a_name(encoding: str) -> None:
    with answering(http(json.dumps(FLEET).encode())) as url:

        def said(*arguments: str) -> bytes:
            environ = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "SWAPCLI_URL": url}
            program = [sys.executable, "-m", "swapcli", *arguments]
            return subprocess.run(program, env=environ, capture_output=True, check=True, timeout=60).stdout

        assert b"\\u043f\\u043b" in said("ps")
        assert json.loads(said("ps", "--json")) == FLEET


@pytest.mark.parametrize("arguments", [("ps",), ("ps", "--json"), ("top", "--count", "1")])
def test_a_full_disk_is_told_in_a_line(arguments: tuple[str, ...]) -> None:
    with answering(http(json.dumps(FLEET).encode())) as url, Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "swapcli", *arguments],
            env={**os.environ, "SWAPCLI_URL": url},
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr == b"swapcli: the output cannot be written: No space left on device\n"
