"""The commands that talk to a running server: what they print, and what they say when it cannot be done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner, Result
from localhost_certificate import write_certificate
from reload_under_load import EDITED, MODELS, STEADY, Sources, prepared
from served_models import Server, serving

from swapcli._cli import swapcli as command


@attrs.frozen
class Terminal:
    server: Server
    sources: Sources

    def run(self, *arguments: str, **environ: str) -> Result:
        env = {"SWAPCLI_URL": self.server.url, "SWAPCLI_API_KEY": "", **environ}
        return CliRunner().invoke(command, arguments, env=env, prog_name="swapcli")

    def json(self, *arguments: str) -> object:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    folder = tmp_path_factory.mktemp("terminal")
    sources = prepared(folder)
    with serving(sources.file, folder / "log") as server:
        yield Terminal(server, sources)


def test_a_model_is_loaded_listed_and_unloaded(terminal: Terminal) -> None:
    assert terminal.run("unload").stdout == "every model is stopped\n"
    assert terminal.run("ps").stderr == "none of 3 models runs\n"
    assert terminal.run("load", STEADY).stdout == f"{STEADY} is ready\n"
    result = terminal.run("ps")
    [header, row] = result.stdout.splitlines()
    assert header.split()[:3] == ["MODEL", "STATE", "SINCE"]
    assert row.split()[:2] == [STEADY, "ready"]
    assert [line.split()[0] for line in terminal.run("ps", "--all").stdout.splitlines()[1:]] == list(MODELS)
    assert terminal.run("unload", STEADY).stdout == f"{STEADY} is stopped\n"
    assert terminal.run("ps").stdout == ""
    assert terminal.json("load", STEADY) == {"msg": "ok"}
    assert terminal.json("unload", STEADY) == {"msg": "ok"}


def test_the_fleet_as_json(terminal: Terminal) -> None:
    terminal.run("unload")
    terminal.run("load", STEADY)
    fleet = terminal.json("ps")
    assert isinstance(fleet, dict)
    [model] = fleet["models"]
    assert (model["id"], model["state"], model["leases"], model["pinned"]) == (STEADY, "ready", 0, False)
    assert model["memory_bytes"] > 2**20
    assert 0 <= model["seconds_in_state"] < 60
    assert 0 < model["load_seconds"] < 20
    assert fleet["swaps"][0]["target"] == STEADY
    assert fleet["swaps"][0]["error"] is None


def test_what_a_model_writes(terminal: Terminal) -> None:
    terminal.run("load", STEADY)
    lines = terminal.run("logs", STEADY).stdout.splitlines()
    assert lines[-1].startswith("a model at ")
    as_json = terminal.run("logs", STEADY, "--json").stdout.splitlines()
    assert [json.loads(line) for line in as_json] == [{"model": STEADY, "line": line} for line in lines]


def test_a_log_that_is_followed_goes_on_until_it_is_interrupted(terminal: Terminal) -> None:
    terminal.run("load", EDITED)
    environ = {**os.environ, "SWAPCLI_URL": terminal.server.url}
    with subprocess.Popen(
        [sys.executable, "-m", "swapcli", "logs", "-f", EDITED],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
    ) as following:
        assert following.stdout is not None
        assert following.stdout.readline().startswith(b"a model at ")
        terminal.run("unload", EDITED)
        terminal.run("load", EDITED)
        assert following.stdout.readline().startswith(b"a model at ")
        following.send_signal(signal.SIGINT)
        assert following.wait(20) == 0


def test_a_reload_says_what_it_changed_or_what_is_wrong(terminal: Terminal) -> None:
    good = terminal.sources.text()
    terminal.sources.write("logLevel: debug\n" + good)
    assert terminal.run("reload", "--dry-run").stdout.startswith("dry run: settings logLevel; 3 models unch")
    assert terminal.run("reload").stdout == "settings logLevel; 3 models unchanged\n"
    assert terminal.run("reload").stdout == "nothing changed\n"
    terminal.sources.write("logLevel: debug\nnonsense: 1\n" + good)
    assert "nonsense: unknown key" in terminal.run("reload").stderr
    terminal.sources.write("logLevel: []\n" + good)
    result = terminal.run("reload")
    assert (result.exit_code, result.stdout) == (1, "")
    place, why = result.stderr.splitlines()
    assert place.startswith(f"{terminal.sources.file}:1:11: logLevel: ")
    assert why == "swapcli: 1 problem in the configuration; the old one stays in force"
    result = terminal.run("reload", "--json")
    assert (result.exit_code, json.loads(result.stdout)["problems"][0]["line"]) == (1, 1)
    terminal.sources.write(good)
    assert terminal.run("reload").exit_code == 0


def test_top(terminal: Terminal) -> None:
    terminal.run("load", STEADY)
    result = terminal.run("top", "--count", "2", "--interval", "0.1")
    assert result.exit_code == 0, result.output
    assert STEADY in result.stdout
    assert "models run" in result.stdout
    assert "SWAP" in result.stdout
    with subprocess.Popen(
        [sys.executable, "-m", "swapcli", "top", "--json", "--interval", "0.1", "--url", terminal.server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert json.loads(watching.stdout.readline())["waiting"] == 0
        watching.send_signal(signal.SIGINT)
        assert (watching.wait(20), watching.stderr.read()) == (0, b"")
    result = terminal.run("top", "--count", "2", "--interval", "0.1", "--json")
    assert [json.loads(line)["leases"] for line in result.stdout.splitlines()] == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("load", "no-such"), "swapcli: model not found: 'no-such'; `swapcli ps --all` lists"),
        (("unload", "no-such"), "swapcli: model not found: 'no-such'; `swapcli ps --all` lists"),
        (("logs", "no-such"), "swapcli: model not found: 'no-such'; `swapcli ps --all` lists"),
        (
            ("ps", "--url", "http://127.0.0.1:1"),
            "swapcli: no server answers at http://127.0.0.1:1; start one with `swapcli serve`, or name "
            "another with --url or SWAPCLI_URL",
        ),
        (("ps", "--url", "ftp://x"), "swapcli: 'ftp://x' is no URL of a server; write for example "),
        (("ps", "--url", "http://h:99999"), "swapcli: 'http://h:99999' is no URL of a server; "),
    ],
)
def test_what_cannot_be_done_is_one_line(terminal: Terminal, arguments: tuple[str, ...], said: str) -> None:
    result = terminal.run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(said)
    assert result.stderr.count("\n") == 1


def test_a_key_that_is_missing_or_wrong(tmp_path: Path) -> None:
    sources = prepared(tmp_path)
    sources.write(sources.text() + "apiKeys: [right, ключ]\n")
    with serving(sources.file, tmp_path / "log") as server:
        terminal = Terminal(server, sources)
        assert "wants a key; give one with --api-key or SWAPCLI_API_KEY" in terminal.run("ps").stderr
        assert "does not know this key" in terminal.run("ps", "--api-key", "wrong").stderr
        for key in ("right", "ключ"):
            assert terminal.run("ps", SWAPCLI_API_KEY=key).exit_code == 0


def test_a_server_that_speaks_tls_or_does_not(tmp_path: Path) -> None:
    sources = prepared(tmp_path)
    certificate, key = write_certificate(tmp_path)
    with serving(sources.file, tmp_path / "plain") as server:
        terminal = Terminal(server, sources)
        url = f"https{server.url[4:]}"
        assert terminal.run("ps", "--url", url).stderr == (
            f"swapcli: the server at {url} does not speak TLS; write http:// instead of https://\n"
        )
    options = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    with serving(sources.file, tmp_path / "tls", *options) as server:
        terminal = Terminal(server, sources)
        assert terminal.run("ps").stderr == (
            f"swapcli: the server at {server.url} answers nothing; if it speaks TLS, write https://\n"
        )
        url = f"https://localhost:{server.url.rpartition(':')[2]}"
        said = terminal.run("ps", "--url", url).stderr
        assert said.replace("self signed", "self-signed") == (  # it depends on OpenSSL
            f"swapcli: the certificate of {url} is not trusted: self-signed certificate; one that is meant "
            "to be goes into a file that SSL_CERT_FILE names\n"
        )
        assert terminal.run("ps", "--url", url, SSL_CERT_FILE=str(certificate)).exit_code == 0


def test_what_is_no_swapcli_is_said(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as other:
        assert other.stdout is not None
        port = other.stdout.readline().split()[5]
        result = CliRunner().invoke(command, ["ps", "--url", f"127.0.0.1:{port}"])
        other.terminate()
    assert result.exit_code == 1
    assert "is no swapcli server: 404" in result.stderr
