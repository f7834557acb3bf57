"""Of several things that keep a server from starting the first in order is told, and nothing is begun."""

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


def start(*options: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "swapcli", "serve", *options],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.rule("C8")
def test_usage_then_the_configuration_then_the_address_then_the_record(tmp_path: Path) -> None:
    config, store, started = tmp_path / "config.yaml", tmp_path / "newer.db", tmp_path / "started"
    ActivityDatabase.open(str(store)).close()
    with closing(sqlite3.connect(store)) as other:
        other.execute("PRAGMA user_version = 99")
    good = (
        f"store: {{path: {store}}}\nhooks: {{on_startup: {{preload: [m]}}}}\n"
        f"models: {{m: {{cmd: touch {started}, proxy: 'http://127.0.0.1:1'}}}}\n"
    )
    config.write_text(good + "peers: 5\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = ("--config", config, "--listen", address)

        status, said = start(*arguments, "-tls-cert-file", "nowhere.pem")
        assert (status, "--tls-key-file" in said, "peers" in said) == (2, True, False)

        status, said = start(*arguments)
        assert (status, "peers: expected" in said, address in said) == (1, True, False)

        config.write_text(good)
        status, said = start(*arguments)
        assert (status, f"{address} is taken" in said, store.name in said) == (1, True, False)

    status, said = start("--config", config, "--listen", "127.0.0.1:0")
    assert (status, "later version" in said) == (1, True)
    assert sorted(os.listdir(tmp_path)) == ["config.yaml", "newer.db"], "nothing was started or written"
