"""`swapcli check` and `swapcli schema`, as a user runs them."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from real_children import free_port
from ruamel.yaml import YAML

from swapcli._check_machine import clashes
from swapcli._check_what_if import WhatIf
from swapcli._cli import swapcli as command
from swapcli.config import Source, load_sources, schema, to_specs
from swapcore import ExclusivePlanner, FleetView, ModelId, SwapPlan

ROOT = Path(__file__).parents[2]
RUN = f"{sys.executable} --port ${{PORT}}"


@pytest.fixture
def port() -> int:
    """One that nobody listens at."""
    return free_port()


def cli(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], prog_name="swapcli")


def file_with(directory: Path, text: str) -> Path:
    file = directory / "config.yaml"
    file.write_text(text)
    return file


# -- what fails later ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("cmd", "reason"),
    [
        ("no-such-program-here --port ${PORT}", "program 'no-such-program-here' was not found in PATH"),
        ("/no/such/program ${PORT}", "program '/no/such/program' does not exist"),
        ("env llama-server -m /no/model.gguf --port ${PORT}", "file '/no/model.gguf'"),
    ],
)
def test_what_a_start_would_lack(tmp_path: Path, cmd: str, reason: str) -> None:
    file = file_with(tmp_path, f"models:\n  m:\n    cmd: {cmd}\n")
    result = cli("check", file)
    assert result.exit_code == 0
    assert f"warning: {file}:3:10: models.m.cmd: {reason}" in result.stdout
    assert result.stdout.endswith(f"{file}: ok, 1 model, 1 warning\n")
    strict = cli("check", "--strict", file)
    assert strict.exit_code == 1
    assert f"\n{file}:3:10: models.m.cmd: {reason}" in f"\n{strict.stdout}"


def test_a_port_that_somebody_has(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        url = f"http://127.0.0.1:{number}"
        file = file_with(tmp_path, f"models:\n  m:\n    cmd: {sys.executable}\n    proxy: {url}\n")
        result = cli("check", "--strict", file)
    assert result.exit_code == 0
    what = f"port {number} of 127.0.0.1 is used by another process now"
    assert f"warning: {file}:4:12: models.m.proxy: {what}" in result.stdout


TWO = """\
models:
  a: {{cmd: {run}, proxy: "http://127.0.0.1:{port}"}}
  b: {{cmd: {run}, proxy: "http://localhost:{other}"}}
"""


@pytest.mark.parametrize(
    ("rule", "difference", "clash"),
    [
        ("", 0, False),  # one at a time may share a port
        ("groups: {g: {swap: no, members: [a, b]}}", 0, True),
        ("groups: {g: {swap: no, members: [a, b]}}", 1, False),
        ("groups: {g: {exclusive: no, members: [b]}}", 0, True),  # if a was started first
        ("matrix: {vars: {x: a, y: b}, sets: {s: x | y}}", 0, False),
        ("matrix: {vars: {x: a, y: b}, sets: {s: x & y}}", 0, True),
    ],
)
def test_one_port_for_two_that_may_run_together(
    tmp_path: Path, port: int, rule: str, difference: int, clash: bool
) -> None:
    file = file_with(
        tmp_path, TWO.format(run=sys.executable, port=port, other=port + difference) + f"{rule}\n"
    )
    result = cli("check", file)
    assert result.exit_code == 0
    said = f"models.b.proxy: port {port} is that of a, too, and the two may run together" in result.stdout
    assert said is clash


def test_a_thousand_models_at_one_port_are_looked_at_in_few_questions() -> None:
    class Counting(ExclusivePlanner):
        questions = 0

        def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
            self.questions += 1
            return super().evictions(target, view)

    planner = Counting()
    text = "models:\n" + "".join(f"  m{n}: {{cmd: run, proxy: 'http://h:9'}}\n" for n in range(1000))
    config = load_sources([Source("c.yaml", text)], environ={}).config
    what_if = WhatIf(planner, to_specs(config))
    assert clashes(list(what_if.specs), what_if) == {}
    assert list(what_if.sets()) == []
    assert planner.questions < 5000


def test_a_model_without_a_url_is_looked_at_for_the_rest(tmp_path: Path) -> None:
    file = file_with(tmp_path, "models:\n  m:\n    cmd: no-such-program-here\n    proxy: ''\n")
    stdout = cli("check", file).stdout
    assert f"warning: {file}:3:10: models.m.cmd: program 'no-such-program-here' was not found" in stdout
    assert f"warning: {file}:4:12: models.m.proxy: there is no URL" in stdout
    assert stdout.endswith("ok, 1 model, 2 warnings\n")


@pytest.mark.rule("G13")
def test_a_check_endpoint_that_is_no_path(tmp_path: Path) -> None:
    file = file_with(tmp_path, f"models: {{m: {{cmd: '{RUN}', checkEndpoint: '/%zz'}}}}")
    result = cli("check", file)
    assert result.exit_code == 1
    assert "models.m.checkEndpoint: no path: '/%zz'" in result.stdout


# -- strictness, and planners ----------------------------------------------------------


def test_strict_makes_unknown_keys_errors(tmp_path: Path) -> None:
    file = file_with(tmp_path, f"models: {{m: {{cmd: '{RUN}', ttll: 3}}}}")
    assert cli("check", file).exit_code == 0
    result = cli("check", "--strict", file)
    assert result.exit_code == 1
    assert "models.m.ttll: unknown key (did you mean ttl?)" in result.stdout
    assert "warning" not in result.stdout


def test_a_file_with_a_mistake_shows_its_warnings_too(tmp_path: Path) -> None:
    file = file_with(tmp_path, f"models:\n  m: {{cmd: '{RUN}', ttl: soon}}\nmodel: {{}}\n")
    result = cli("check", file)
    assert result.exit_code == 1
    assert f"warning: {file}:3:1: model: unknown key (did you mean models?)" in result.stdout
    assert result.stdout.endswith(f"{file}: 1 problem, 1 warning\n")


def test_a_file_and_a_directory_are_checked_as_one(tmp_path: Path) -> None:
    file = file_with(tmp_path, f"macros: {{run: '{sys.executable}'}}\n")
    more = tmp_path / "conf.d"
    more.mkdir()
    (more / "m.yaml").write_text("models:\n  m: {cmd: '${run}', ttll: 3, proxy: 'http://192.0.2.1'}\n")
    result = cli("check", file, "--config-dir", more)
    assert result.exit_code == 0
    assert f"warning: {more}/m.yaml:2:22: models.m.ttll: unknown key" in result.stdout
    assert result.stdout.endswith(f"{file} with {more}: ok, 1 model, 1 warning\n")
    assert "unknown macro ${run}" in cli("check", "--config-dir", more).stdout
    assert json.loads(cli("check", file, "--config-dir", more, "--json").stdout)["resolve"] == {"m": "m"}


PLANNER = """\
from swapcore import SwapPlan, SwapPlanner
with open({log!r}, "a") as log:
    log.write("imported\\n")
class Mine(SwapPlanner):
    def evictions(self, target, view):
        assert view.models[target].state.value == "stopped"
        assert set(view.models) == {{"a", "b", "c"}}
        return SwapPlan(tuple(view.running) if target == "a" else ())
"""
THREE = "models: {" + ", ".join(f"{id}: {{cmd: '{RUN}'}}" for id in "abc") + "}\n"


def test_a_planner_of_the_users_own_is_imported_once_and_asked(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "check_planner_good.py").write_text(PLANNER.format(log=str(log)))
    file = file_with(tmp_path, THREE + "routing: {router: {planner: 'check_planner_good:Mine'}}\n")
    assert cli("check", file).exit_code == 0
    explained = cli("check", file, "--explain", "a").stdout
    assert "  - stops, if they run: b, c.\n" in explained
    assert cli("check", tmp_path, "--explain").stdout == (
        "Decided by: the planner check_planner_good:Mine.\n"
        "These may run together:\n"
        "  - a, b, c (started in this order)\n"
    )
    assert log.read_text() == "imported\n"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_package_here", "ModuleNotFoundError: No module named 'no_such_package_here'"),
        ("raise SystemExit('no')", "SystemExit: no"),
        ("class Other: ...", "AttributeError"),
    ],
)
def test_a_planner_that_cannot_be_imported_is_an_error_at_its_place(
    tmp_path: Path, code: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "check_planner_bad", raising=False)
    (tmp_path / "check_planner_bad.py").write_text(code + "\n")
    file = file_with(tmp_path, THREE + "routing:\n  router:\n    planner: check_planner_bad:Mine\n")
    result = cli("check", file)
    assert result.exit_code == 1
    place = f"{file}:4:14: routing.router.planner: check_planner_bad:Mine cannot be used: "
    assert place + reason in result.stdout
    assert result.stdout.endswith(f"{file}: 1 problem\n")
    sys.modules.pop("check_planner_bad", None)


# -- what it means ---------------------------------------------------------------------

FULL = """\
macros: {key: sk-topsecret, token: hush, words: "--api-key ${key} --port ${PORT}"}
apiKeys: ["${key}"]
models:
  m:
    cmd: |
      serve ${words}
      --name "two words"
    env: ["TOKEN=${token}"]
    aliases: [gpt]
    metadata: {when: 2024-01-02}
    ttll: 3
"""


def test_show_is_the_effective_configuration_and_nothing_else(tmp_path: Path) -> None:
    file = file_with(tmp_path, FULL)
    shown = cli("check", "--show", "--json", file)
    assert shown.exit_code == 0
    assert "unknown key" in shown.stderr
    data = json.loads(shown.stdout)
    assert data["models"]["m"]["cmd_argv"][-2:] == ["--name", "two words"]
    assert data["models"]["m"]["cmd_argv"][4] == "5800"
    assert data["models"]["m"]["ttl"] == 0
    assert data["resolve"] == {"gpt": "m", "m": "m"}
    assert data["healthCheckTimeout"] == 120
    assert data["models"]["m"]["env"] == ["TOKEN=***"]
    as_yaml = cli("check", "--show", file)
    assert YAML(typ="safe", pure=True).load(as_yaml.stdout)["models"]["m"]["aliases"] == ["gpt"]
    assert '--name "two words"' in as_yaml.stdout
    assert "    cmd: |\n" in as_yaml.stdout
    for masked in (shown, as_yaml):
        assert "sk-topsecret" not in masked.stdout
        assert "hush" not in masked.stdout


def test_show_with_secrets(tmp_path: Path) -> None:
    file = file_with(tmp_path, FULL)
    data = json.loads(cli("check", "--show", "--json", "--secrets", file).stdout)
    assert data["apiKeys"] == ["sk-topsecret"]
    assert data["models"]["m"]["env"] == ["TOKEN=hush"]
    assert data["models"]["m"]["cmd_argv"][2] == "sk-topsecret"


def test_what_json_has_no_number_for_is_text(tmp_path: Path) -> None:
    file = file_with(tmp_path, f"models: {{m: {{cmd: '{RUN}', name: '017', metadata: {{big: .inf}}}}}}\n")
    assert json.loads(cli("check", "--json", file).stdout)["models"]["m"]["metadata"] == {"big": "inf"}
    shown = YAML(typ="safe", pure=True).load(cli("check", "--show", file).stdout)["models"]["m"]
    assert (shown["name"], shown["metadata"]) == ("017", {"big": float("inf")})


def test_nothing_is_shown_of_what_is_no_configuration(tmp_path: Path) -> None:
    result = cli("check", "--json", file_with(tmp_path, "models: []\n"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "config.yaml:1:9: models: " in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--show", "--explain", "m", "a.yaml"),
        ("--show", "a.yaml", "b.yaml"),
        ("a.yaml", "b.yaml", "--explain"),
        ("--secrets", "a.yaml"),
        ("a.yaml", "b.yaml", "--config-dir", "c"),
        ("--shwo", "a.yaml"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    result = cli("check", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


# -- the schema ------------------------------------------------------------------------


def test_the_schema_is_printed() -> None:
    result = cli("schema")
    assert (result.exit_code, json.loads(result.stdout)) == (0, schema())
    assert json.loads(cli("schema", "--strict").stdout) == schema(strict=True)


def test_the_published_schema_is_current() -> None:
    page = (ROOT / "docs" / "reference" / "config-schema.json").read_text(encoding="utf-8")
    assert page == cli("schema").stdout, "run: python -m swapcli schema > docs/reference/config-schema.json"


def words_in(rule: dict[str, Any], cls: str, key: str) -> list[Any]:
    found = rule["$defs"][cls]["properties"][key]
    words: list[Any] = found.get("items", found)["anyOf"][0]["enum"]
    return [word for word in words if word]


@pytest.mark.parametrize(
    ("cls", "key", "words"),
    [
        ("Configuration", "logLevel", "debug info warn error"),
        ("Configuration", "logToStdout", "proxy upstream both none"),
        ("Router", "use", "group matrix"),
        ("Scheduler", "use", "fifo"),
        ("Selector", "strategy", "warm pin spillover"),
        ("Restart", "policy", "never on-demand always"),
        ("Capabilities", "in", "text audio image"),
        ("Capabilities", "out", "text audio image"),
    ],
)
def test_the_schema_lists_fixed_words(cls: str, key: str, words: str) -> None:
    assert words_in(schema(), cls, key) == words.split()
