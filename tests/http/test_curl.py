"""curl, in each version of HTTP that it speaks, against a real server with a model in a process of its own.

What curl says about the version is what was spoken; a fall-back would be seen. To a request in HTTP/1.0 the
server answers with the version that it speaks itself, as RFC 9110 (2.5) has it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import scripted_model
from real_children import free_port
from served_models import Server, serving

JSON = ("-H", "Content-Type: application/json")
VERSIONS = {"--http1.0": "1.1", "--http1.1": "1.1", "--http2-prior-knowledge": "2"}
EVERY_VERSION = pytest.mark.parametrize("version", VERSIONS)
BROKEN_OFF = (18, 92)
"""curl's exit status for a body that ends too early, and for a stream of HTTP/2 that was reset."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("curl")
    lines = ["healthCheckTimeout: 30", "models:"]
    for name in ("scripted", "mortal"):
        port = free_port()
        lines += [
            f"  {name}:",
            f"    cmd: {sys.executable} {scripted_model.__file__} {name} {port} {folder}",
            f"    proxy: http://127.0.0.1:{port}",
            "    restart: {backoff: 0, intensity: 1000}",
        ]
    config = folder / "config.yaml"
    config.write_text("\n".join(lines))
    with serving(config, folder / "log") as server:
        yield server


@attrs.frozen
class Fetched:
    exit_status: int
    status: int
    version: str
    connections: int
    body: bytes


def start(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    """Let curl write what it gets to the file ``body`` in *folder*, as it comes."""
    program, body = shutil.which("curl"), str(folder / "body")
    assert program is not None, "these tests need curl"
    return subprocess.Popen(
        [
            *(program, "--silent", "--show-error", "--no-buffer", "--noproxy", "*", "--max-time", "30"),
            *("--output", body, "--write-out", "%{http_code} %{http_version} %{num_connects}"),
            *arguments,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], folder: Path) -> Fetched:
    with process:
        said, _ = process.communicate(timeout=60)
    status, version, connections = said.split()
    body = folder / "body"
    return Fetched(
        process.returncode,
        int(status),
        version,
        int(connections),
        body.read_bytes() if body.exists() else b"",
    )


def curl(*arguments: str, folder: Path) -> Fetched:
    return finish(start(*arguments, folder=folder), folder)


@EVERY_VERSION
def test_curl_chats(server: Server, tmp_path: Path, version: str) -> None:
    asked = json.dumps({"model": "scripted", "messages": []})
    got = curl(version, *JSON, "-d", asked, f"{server.url}/v1/chat/completions", folder=tmp_path)
    assert (got.exit_status, got.status, got.version) == (0, 200, VERSIONS[version])
    assert json.loads(got.body)["choices"][0]["message"]["content"] == "scripted"


@EVERY_VERSION
def test_curl_streams(server: Server, tmp_path: Path, version: str) -> None:
    asked = json.dumps({"model": "scripted", "messages": [], "stream": True})
    url = f"{server.url}/v1/chat/completions"
    got = curl(version, "-A", f"streams {version}", *JSON, "-d", asked, url, folder=tmp_path)
    assert (got.exit_status, got.status, got.version) == (0, 200, VERSIONS[version])
    assert got.body == b"".join(scripted_model.openai_chat_events({}))
    spoken = version.removeprefix("--http") if version.startswith("--http1") else "2.0"
    server.wait_for_log(f' HTTP/{spoken}" 200 {len(got.body)} "streams {version}" ')


@EVERY_VERSION
def test_curl_uploads_a_form(server: Server, tmp_path: Path, version: str) -> None:
    recording = tmp_path / "memo.wav"
    recording.write_bytes(scripted_model.SOUND)
    form = ("-F", f"file=@{recording}", "-F", "model=scripted")
    got = curl(version, *form, f"{server.url}/v1/audio/transcriptions", folder=tmp_path)
    assert (got.exit_status, got.status, got.version) == (0, 200, VERSIONS[version])
    name, length, _ = json.loads(json.loads(got.body)["text"])["file"]
    assert (name, length) == ("memo.wav", len(scripted_model.SOUND))


@EVERY_VERSION
def test_curl_downloads_a_long_answer_of_unknown_length(server: Server, tmp_path: Path, version: str) -> None:
    asked = json.dumps({"model": "scripted", "input": "Hello", "voice": "alloy"})
    got = curl(version, *JSON, "-d", asked, f"{server.url}/v1/audio/speech", folder=tmp_path)
    assert (got.exit_status, got.status, got.version) == (0, 200, VERSIONS[version])
    assert got.body == scripted_model.SOUND


@EVERY_VERSION
def test_curl_asks_for_what_the_server_says_itself(server: Server, tmp_path: Path, version: str) -> None:
    got = curl(version, f"{server.url}/v1/models", folder=tmp_path)
    assert (got.exit_status, got.status, got.version) == (0, 200, VERSIONS[version])
    assert [model["id"] for model in json.loads(got.body)["data"]] == ["mortal", "scripted"]
    got = curl(version, "--head", f"{server.url}/health", folder=tmp_path)
    assert (got.exit_status, got.status, got.version) == (0, 200, VERSIONS[version])
    got = curl(version, f"{server.url}/nowhere", folder=tmp_path)
    assert (got.exit_status, got.status, got.version) == (0, 404, VERSIONS[version])


@pytest.mark.rule("G45")
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_curl_sees_that_a_stream_was_broken_off(server: Server, tmp_path: Path, version: str) -> None:
    """In HTTP/1.0 the end of the connection is the end of the body, and no server can say more.

    The model lives until curl has shown what came: of an answer that it reads together with its reset curl
    drops everything, the status included.
    """
    cue, came = tmp_path / "cue", b"".join(scripted_model.openai_chat_events({})[:3])
    script = {"die_after": 3, "cue": str(cue)}
    asked = json.dumps({"model": "mortal", "stream": True, "script": script})
    url = f"{server.url}/v1/chat/completions"
    fetching = start(version, *JSON, "-d", asked, url, folder=tmp_path)
    deadline = time.monotonic() + 25
    while not (body := tmp_path / "body").exists() or len(body.read_bytes()) < len(came):
        assert fetching.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)  # another program's file sends no events
    cue.touch()
    got = finish(fetching, tmp_path)
    assert got.exit_status in BROKEN_OFF
    assert (got.status, got.version) == (200, VERSIONS[version])
    assert got.body == came


def test_curl_keeps_its_connection_across_answers_and_errors(server: Server, tmp_path: Path) -> None:
    chat = f"{server.url}/v1/chat/completions"
    ask, miss = (json.dumps({"model": name, "messages": []}) for name in ("scripted", "nobody"))
    one = ("--silent", "--noproxy", "*", "--max-time", "30", "-o", str(tmp_path / "body"))
    told = ("--write-out", "%{http_code} %{num_connects}\\n", *JSON)
    asked = [(*one, *told, "-d", body, chat) for body in (ask, miss, ask, miss, ask)]
    arguments = [part for each in asked for part in ("--next", *each)][1:]
    got = subprocess.run(["curl", *arguments], capture_output=True, text=True, timeout=60, check=True)
    assert got.stdout.splitlines() == ["200 1", "404 0", "200 0", "404 0", "200 0"]


def test_curl_waits_for_100_continue_before_a_large_upload(server: Server, tmp_path: Path) -> None:
    body = tmp_path / "request"
    body.write_text(json.dumps({"model": "scripted", "messages": [], "padding": "x" * 2_000_000}))
    got = curl(
        *("--http1.1", *JSON, "-H", "Expect: 100-continue", "--expect100-timeout", "60"),
        *("--data-binary", f"@{body}", f"{server.url}/v1/chat/completions"),
        folder=tmp_path,
    )
    assert (got.exit_status, got.status) == (0, 200)  # or it would have given up first
