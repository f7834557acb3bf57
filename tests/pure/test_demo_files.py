"""The demo's files: where they are, when they are written, and that a user's edit is safe."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import swapcli
from swapcli._cli import swapcli as command
from swapcli.config import load, to_specs
from swapcli.demo import DemoFiles, curl_lines, demo_directory, prepare
from swapcli.demo._config_text import config_text
from swapcli.demo._files import _sign
from swapcli.demo._models import MODELS
from swapcli.demo.tiny_gguf import TinyModel, write_tiny_gguf

_FILES = ["alpha.gguf", "beta.gguf", "config.yaml", "gamma.gguf"]


def _prepare(directory: Path) -> tuple[DemoFiles, list[str]]:
    """What `prepare` made, and the names of the files it wrote."""
    said: list[str] = []
    files = prepare(directory, progress=said.append)
    return files, [Path(line.removeprefix("wrote ")).name for line in said]


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({"HOME": "/home/u"}, "linux", "/home/u/.cache/swapcli/demo"),
        ({"HOME": "/home/u", "XDG_CACHE_HOME": ""}, "linux", "/home/u/.cache/swapcli/demo"),
        ({"HOME": "/home/u", "XDG_CACHE_HOME": "/c"}, "linux", "/c/swapcli/demo"),
        ({"HOME": "/home/u", "XDG_CACHE_HOME": "relative"}, "linux", "/home/u/.cache/swapcli/demo"),
        ({"HOME": "/home/u"}, "darwin", "/home/u/Library/Caches/swapcli/demo"),
        ({"HOME": "/home/u", "XDG_CACHE_HOME": "/c"}, "darwin", "/c/swapcli/demo"),
        ({"HOME": "/home/u"}, "win32", "/home/u/AppData/Local/swapcli/demo"),
        ({"HOME": "/home/u", "LOCALAPPDATA": "/local"}, "win32", "/local/swapcli/demo"),
    ],
)
def test_the_directory_is_the_users_cache(environ: dict[str, str], platform: str, expected: str) -> None:
    assert demo_directory(environ=environ, platform=platform) == Path(expected)


def test_everything_is_written_once(tmp_path: Path) -> None:
    directory = tmp_path / "cache" / "demo"
    files, written = _prepare(directory)
    assert files == DemoFiles(directory / "config.yaml", kept=False)
    assert sorted(written) == sorted(os.listdir(directory)) == _FILES
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    assert _prepare(directory) == (files, [])
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_only_the_user_may_look_into_the_directory(tmp_path: Path) -> None:
    _prepare(tmp_path / "demo")
    assert stat.S_IMODE((tmp_path / "demo").stat().st_mode) == 0o700


def test_models_of_an_older_release_and_missing_ones_are_made_again(tmp_path: Path) -> None:
    _prepare(tmp_path)
    right = (tmp_path / "alpha.gguf").read_bytes()
    write_tiny_gguf(TinyModel("alpha", stop=True, origin="recipe of old"), tmp_path / "alpha.gguf")
    (tmp_path / "gamma.gguf").unlink()
    _, written = _prepare(tmp_path)
    assert written == ["alpha.gguf", "gamma.gguf"]
    assert (tmp_path / "alpha.gguf").read_bytes() == right


def test_every_model_has_a_recipe_of_its_own() -> None:
    assert len({model.origin for model in MODELS}) == len(MODELS)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("30", "31", 1),
        lambda text: text + "\n",
        lambda text: "# mine\n" + text,
        lambda text: "".join(text.splitlines(keepends=True)[:-1]),
        lambda text: "",
    ],
    ids=["changed", "appended", "prepended", "last line gone", "emptied"],
)
def test_an_edited_configuration_is_kept(tmp_path: Path, edit: Callable[[str], str]) -> None:
    config = tmp_path / "config.yaml"
    _prepare(tmp_path)
    edited = edit(config.read_text())
    config.write_text(edited)
    files, written = _prepare(tmp_path)
    assert (files.kept, written) == (True, [])
    assert config.read_text() == edited


def test_an_untouched_configuration_of_another_release_is_replaced(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(_sign("models: {}\n"))
    files, written = _prepare(tmp_path)
    assert not files.kept
    assert "config.yaml" in written
    assert "alpha" in config.read_text()


def test_programs_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(Path(swapcli.__file__).parent.parent),
        "XDG_CACHE_HOME": str(tmp_path),
    }
    arguments = (sys.executable, "-m", "swapcli", "demo", "--files-only")
    running = [
        subprocess.Popen(
            arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in running:
        stdout, _ = process.communicate(timeout=60)
        assert (process.returncode, stdout) == (0, f"{tmp_path / 'swapcli' / 'demo' / 'config.yaml'}\n")
    assert sorted(os.listdir(tmp_path / "swapcli" / "demo")) == _FILES
    assert _prepare(tmp_path / "swapcli" / "demo")[1] == []


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("plain", False),
        ("with spaces", False),
        ("it's", False),
        ('dou"ble', False),
        ("back\\slash", False),
        ("#hash $HOME {brace}", False),
        ("\u00fcml\u00e4ut", False),
        ("with spaces", True),
        ("C:\\Users\\A B", True),
    ],
)
def test_the_configuration_names_the_files_wherever_they_are(
    tmp_path: Path, name: str, windows: bool
) -> None:
    directory, python = tmp_path / name, f"/opt/{name}/python"
    file = tmp_path / "config.yaml"
    file.write_text(config_text(directory, python=python, windows=windows), encoding="utf-8")
    loaded = load((file,), environ={}, windows=windows)
    assert (loaded.warnings, loaded.refusals) == ((), ())
    alpha, beta, gamma = to_specs(loaded.config, windows=windows)
    for spec, port in ((alpha, 18450), (beta, 18451), (gamma, 18452)):
        assert spec.command[:4] == (python, "-m", "swapcli", "llama-server")
        assert spec.command[-2:] == ("--model", str(directory / f"{spec.id}.gguf"))
        assert spec.command[spec.command.index("--port") + 1] == str(port)
    assert "--embeddings" in gamma.command
    assert gamma.url == "http://127.0.0.1:18452"


@pytest.mark.parametrize("name", ["${HOME}", "new\nline"])
def test_a_path_that_the_format_cannot_express_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be written in a configuration"):
        prepare(tmp_path / name, progress=print)
    assert os.listdir(tmp_path) == []


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(
        command, ["demo", "--files-only"], env={"XDG_CACHE_HOME": str(tmp_path / "file")}
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("swapcli: cannot write the demo's files: ")
    assert result.stderr.count("\n") == 1


def test_curl_lines_are_three_requests_for_the_shell() -> None:
    lines = [shlex.split(line) for line in curl_lines("http://[::1]:8080", windows=False)]
    assert [words[:2] for words in lines] == [["curl", "-N"]] * 3
    assert [words[2] for words in lines] == [
        "http://[::1]:8080/v1/chat/completions",
        "http://[::1]:8080/v1/chat/completions",
        "http://[::1]:8080/v1/embeddings",
    ]
    bodies = [json.loads(words[-1]) for words in lines]
    assert [body["model"] for body in bodies] == ["alpha", "beta", "gamma"]
    assert bodies[1]["stream"] is True


def test_curl_lines_for_windows_have_double_quotes_only() -> None:
    for line in curl_lines("http://127.0.0.1:8080", windows=True):
        assert "'" not in line.replace("\\'", "")
        body = line[line.index(' -d "') + 5 : -1]
        assert json.loads(body.replace('\\"', '"'))["model"]
