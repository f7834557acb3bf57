"""A server that cannot start says why, exits 1, and has started nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
models:
  m:
    cmd: {python} -S -c "open('{folder}/was-started', 'w')"
    proxy: http://127.0.0.1:1
hooks: {{on_startup: {{preload: [m]}}}}
"""


def serve(folder: Path, listen: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "swapcli",
        "serve",
        "-config",
        f"{folder}/config.yaml",
        "-listen",
        listen,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.rule("L161", "C8", "C6")
def test_an_address_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.format(python=sys.executable, folder=tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = serve(tmp_path, address)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"swapcli: {address} is taken by another program")
    assert not (tmp_path / "was-started").exists()


@pytest.mark.rule("L161", "C8")
def test_a_configuration_with_a_mistake(tmp_path: Path) -> None:
    text = CONFIG.format(python=sys.executable, folder=tmp_path) + "unloadTimeout: soon\n"
    (tmp_path / "config.yaml").write_text(text)
    ended = serve(tmp_path, "127.0.0.1:0")
    assert ended.returncode == 1
    assert f"{tmp_path}/config.yaml:7:16: unloadTimeout: " in ended.stderr
    assert "listening on" not in ended.stdout + ended.stderr
    assert not (tmp_path / "was-started").exists()
