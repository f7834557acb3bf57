"""`swapcli demo` from end to end: a real server, real engines, and the command lines that it prints."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
from free_ports import free_ports

import swapcli

_TIMEOUT = 30.0
_COMMAND = (sys.executable, "-m", "swapcli", "demo")


@attrs.frozen
class Demo:
    """A running demo: what it printed on standard output, and where the rest goes."""

    process: subprocess.Popen[str]
    printed: Sequence[str]
    log: Path

    @property
    def curl_lines(self) -> list[list[str]]:
        """The words of each command, as a shell reads them."""
        return [shlex.split(line) for line in self.printed if line.strip().startswith("curl ")]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(Path(swapcli.__file__).parent.parent),
        "XDG_CACHE_HOME": str(tmp_path / "cache with spaces"),
    }


@pytest.fixture
def config(environment: Mapping[str, str]) -> Path:
    """The demo's configuration, with ports for the models that are free here: it counts as edited."""
    result = subprocess.run(
        (*_COMMAND, "--files-only"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=True,
    )
    path = Path(result.stdout.rstrip("\n"))
    text = path.read_text()
    assert "startPort: 18450" in text
    path.write_text(text.replace("startPort: 18450", f"startPort: {free_ports(3)}"))
    return path


@contextmanager
def _running(environment: Mapping[str, str], log: Path) -> Iterator[Demo]:
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            (*_COMMAND, "--listen", "127.0.0.1:0"),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            printed = []
            for line in process.stdout:  # ends with the process, if that fails
                printed.append(line.rstrip("\n"))
                if line.startswith("Ctrl-C"):
                    break
            demo = Demo(process, printed, log)
            assert len(demo.curl_lines) == 3, log.read_text()
            yield demo
        finally:
            process.terminate()
            try:
                process.wait(_TIMEOUT)
            finally:
                process.kill()


def _carry_out(curl: Sequence[str]) -> str:
    """What the curl command would print."""
    url, header, data = curl[2], curl[4], curl[6]
    assert [*curl[:2], curl[3], curl[5]] == ["curl", "-N", "-H", "-d"]
    name, _, value = header.partition(": ")
    request = urllib.request.Request(url, data.encode(), {name: value})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        return str(response.read().decode())


def test_the_printed_commands_work_and_swap_the_models(
    config: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    with _running(environment, tmp_path / "log") as demo:
        assert any(str(config) in line for line in demo.printed)
        alpha, beta, gamma = demo.curl_lines
        for _ in range(2):  # the second time every model was put away for another one
            answer = json.loads(_carry_out(alpha))
            content = "I am the tiny test model called alpha speaking nonsense words calmly ."
            assert answer["choices"][0]["message"]["content"] == content
            chunks = re.findall(r"^data: (\{.*\})$", _carry_out(beta), re.MULTILINE)
            deltas = [json.loads(chunk)["choices"][0]["delta"].get("content") or "" for chunk in chunks]
            assert "".join(deltas) == content.replace("alpha", "beta")
            assert len(deltas) > 5
            assert len(json.loads(_carry_out(gamma))["data"][0]["embedding"]) == 128
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(_TIMEOUT) == 0
        log = demo.log.read_text()
        assert f"swapcli: warning: {config} was edited, so it is kept" in log
        assert "Traceback" not in log


def test_no_model_outlives_the_demo(config: Path, environment: dict[str, str], tmp_path: Path) -> None:
    found = re.search(r"startPort: (\d+)", config.read_text())
    assert found is not None
    with _running(environment, tmp_path / "log") as demo:
        _carry_out(demo.curl_lines[0])
        socket.create_connection(("127.0.0.1", int(found[1])), _TIMEOUT).close()
        demo.process.terminate()
        assert demo.process.wait(_TIMEOUT) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(found[1])), _TIMEOUT)


def test_a_taken_address_is_one_line(environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = subprocess.run(
            (*_COMMAND, "--listen", f"127.0.0.1:{port}"),
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == (
        f"swapcli: 127.0.0.1:{port} is taken by another program; "
        f"choose another with --listen 127.0.0.1:{port + 1}"
    )
