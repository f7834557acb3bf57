"""The files for systemd and reverse proxies: what the how-tos show is what they are."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from swapcli._cli import swapcli

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def unit(name: str) -> dict[str, str]:
    lines = (EXAMPLES / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_the_unit_starts_a_command_that_there_is() -> None:
    program, command, *arguments = shlex.split(unit("swapcli.service")["ExecStart"])
    assert Path(program).name == "swapcli"
    found = swapcli.commands[command]
    context = found.make_context(command, arguments)
    assert context.params["configs"] == ("/etc/swapcli/config.yaml",)


def test_the_unit_leaves_the_models_to_us_and_gives_them_time() -> None:
    service = unit("swapcli.service")
    assert service["KillMode"] == "mixed", "else systemd stops the models under their requests"
    assert int(service["TimeoutStopSec"]) > 30 + 10, "the drain, and the default unloadTimeout"
    assert service["Type"] == "notify"


@pytest.mark.parametrize(("language", "file"), [("nginx", "nginx.conf"), ("caddyfile", "Caddyfile")])
def test_the_how_to_shows_the_file(language: str, file: str) -> None:
    page = (ROOT / "docs" / "how-to" / "reverse-proxy.md").read_text(encoding="utf-8")
    block = page.partition(f"```{language}\n")[2].partition("```")[0]
    without_comments_at_the_top = (EXAMPLES / file).read_text(encoding="utf-8").partition("\n")[2]
    assert block.removeprefix("# Inside http { }.\n") == without_comments_at_the_top
