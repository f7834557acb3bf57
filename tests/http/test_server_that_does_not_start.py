"""A server that cannot start says why, exits 1, and has started nothing."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from swapcli.activity.database import ActivityDatabase

CONFIG = """
models:
  m:
    cmd: {python} -S -c "open('{folder}/was-started', 'w')"
    proxy: http://127.0.0.1:1
hooks: {{on_startup: {{preload: [m]}}}}
"""


def serve(folder: Path, listen: str, *options: str) -> subprocess.CompletedProcess[str]:
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
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=30, check=False)


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


@pytest.mark.rule("L161", "C8", "C5")
def test_of_several_reasons_the_first_in_order_is_told(tmp_path: Path) -> None:
    config, store = tmp_path / "config.yaml", tmp_path / "newer.db"
    ActivityDatabase.open(str(store)).close()
    with closing(sqlite3.connect(store)) as other:
        other.execute("PRAGMA user_version = 99")
    good = CONFIG.format(python=sys.executable, folder=tmp_path) + f"store: {{path: {store}}}\n"
    config.write_text(good + "unloadTimeout: soon\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        usage = serve(tmp_path, address, "-tls-cert-file", "nowhere.pem")
        assert (usage.returncode, "unloadTimeout" in usage.stderr) == (2, False)
        assert "--tls-key-file" in usage.stderr

        mistake = serve(tmp_path, address)
        assert (mistake.returncode, address in mistake.stderr) == (1, False)
        assert "unloadTimeout" in mistake.stderr

        config.write_text(good)
        address_taken = serve(tmp_path, address)
        assert (address_taken.returncode, store.name in address_taken.stderr) == (1, False)
        assert f"{address} is taken" in address_taken.stderr

    refused = serve(tmp_path, "127.0.0.1:0")
    assert refused.returncode == 1
    assert f"{store}: " in refused.stderr
    assert "later version" in refused.stderr
    assert sorted(os.listdir(tmp_path)) == ["config.yaml", "newer.db"], "nothing was started or written"
