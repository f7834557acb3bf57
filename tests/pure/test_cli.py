"""The command line: what it accepts, what it says, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import pytest
from click.testing import CliRunner, Result

import swapcli
import swapcli._serve
from swapcli._cli import swapcli as command
from swapcli._cli_reference import reference
from swapcli._listen import AddressTaken, ListenAddress

_ROOT = Path(swapcli.__file__).parent.parent
# Help is folded to the width of the terminal.
_ENVIRONMENT = os.environ | {"PYTHONPATH": str(_ROOT), "COLUMNS": "100"}
# At an address that is not this machine's: whether a port is free here is nobody's business.
_GOOD = f"models:\n  qwen:\n    cmd: {sys.executable}\n    proxy: http://192.0.2.1\n"


def _cli(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], prog_name="swapcli")


def _process(*arguments: str, environment: dict[str, str] = _ENVIRONMENT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, *arguments),
        capture_output=True,
        text=True,
        timeout=30,
        env=environment,
        check=False,
    )


@attrs.define(eq=False)
class Served:
    """Stands in for the server: remembers what it was asked to serve."""

    sources: Sequence[Path] = ()
    listen: ListenAddress | None = None
    watch_every: float | None = None
    certificate: tuple[Path, Path] | None = None
    limits: tuple[int | None, int | None] = (None, None)
    error: Exception | None = None
    status: int = 0

    def __call__(
        self,
        *,
        sources: Sequence[Path],
        listen: ListenAddress,
        watch_every: float | None = None,
        announce: Callable[[Sequence[str]], None] | None = None,
        certificate: tuple[Path, Path] | None = None,
        max_body: int | None = None,
        max_connections: int | None = None,
        ui_folder: Path | None = None,
    ) -> int:
        self.sources, self.listen, self.watch_every = sources, listen, watch_every
        self.certificate, self.limits = certificate, (max_body, max_connections)
        if self.error is not None:
            raise self.error
        if announce is not None:
            announce([f"http://{listen if listen.host else f'0.0.0.0{listen}'}"])
        return self.status


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    server = Served()
    monkeypatch.setattr(swapcli._serve, "serve", server)
    return server


@pytest.mark.rule("C2")
@pytest.mark.rule("C1")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--config", "a.yaml", "--listen", "[::1]:9000"),
        ("-config", "a.yaml", "-listen", "[::1]:9000"),
        ("-listen=[::1]:9000", "-config=a.yaml", "-watch-config=false"),
    ],
)
def test_serve_passes_on_what_it_was_told(served: Served, arguments: Sequence[str]) -> None:
    result = _cli("serve", *arguments)
    assert (result.exit_code, result.output) == (0, "")
    assert served.sources == (Path("a.yaml"),)
    assert served.listen == ListenAddress("::1", 9000)


@pytest.mark.rule("C6")
def test_serve_listens_on_this_machine_only_unless_told(served: Served) -> None:
    for arguments in ((), ("-listen", "")):
        assert _cli("serve", "-config", "a.yaml", *arguments).output == ""
        assert served.listen == ListenAddress("127.0.0.1", 8080)


@pytest.mark.rule("C7")
def test_serve_says_when_others_can_reach_it(served: Served) -> None:
    result = _cli("serve", "-config", "a.yaml", "-listen", ":8080")
    assert result.stderr == (
        "swapcli: other machines can reach this server; on this one it is http://127.0.0.1:8080\n"
    )


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("-config", "a.yaml"), "-config is an option of a command: swapcli serve -config ..."),
        (("--listen=:80",), "--listen=:80 is an option of a command: swapcli serve --listen=:80 ..."),
        (("serve", "a.yaml"), "unexpected 'a.yaml'; the configuration is named like this: --config a.yaml"),
        (("--nonsense",), "No such option '--nonsense'"),
    ],
)
def test_wrong_usage_of_newcomers_is_put_right(served: Served, arguments: Sequence[str], hint: str) -> None:
    result = _cli(*arguments)
    assert (result.exit_code, result.stdout, served.sources) == (2, "", ())
    assert hint in result.stderr


def test_a_directory_comes_after_the_file(served: Served) -> None:
    _cli("serve", "-config-dir", "d", "-config", "a.yaml")
    assert served.sources == (Path("a.yaml"), Path("d"))


def test_the_last_of_several_configurations_counts_and_that_is_said(served: Served) -> None:
    result = _cli("serve", "-config", "a.yaml", "-config", "b.yaml")
    assert served.sources == (Path("b.yaml"),)
    assert result.stderr == "swapcli: warning: --config was given 2 times; the last one counts, b.yaml\n"


def test_the_status_of_the_server_is_the_commands(served: Served) -> None:
    served.status = 1
    assert _cli("serve", "-config", "a.yaml").exit_code == 1


@pytest.mark.rule("C6")
def test_an_address_in_use_is_one_line(served: Served) -> None:
    served.error = AddressTaken(ListenAddress("127.0.0.1", 8080))
    result = _cli("serve", "-config", "a.yaml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "swapcli: 127.0.0.1:8080 is taken by another program; choose another with --listen 127.0.0.1:8081\n"
    )


def test_a_misspelt_key_is_shown_with_the_error_that_it_causes(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("models:\n  m:\n    cmdd: s --port ${PORT}\n")
    result = _cli("serve", "--config", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{file}:2:3: models.m.proxy: http://localhost:${{PORT}} needs ${{PORT}}" in result.stderr
    assert f"warning: {file}:3:5: models.m.cmdd: unknown key (did you mean cmd?)" in result.stderr
    assert result.stderr.endswith("swapcli: 2 problems in the configuration\n")


@pytest.mark.rule("C4")
@pytest.mark.parametrize("arguments", [(), ("-config", ""), ("-config-dir=",)])
def test_without_a_configuration_it_names_the_ways_to_one(served: Served, arguments: Sequence[str]) -> None:
    result = _cli("serve", *arguments)
    assert result.exit_code == 1
    assert "--config" in result.stderr
    assert "swapcli demo" in result.stderr
    assert served.listen is None


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("-listen", "80"), "'80' has no port"),
        (("-cofnig", "x"), "--cofnig"),
        (("-config",), "--config"),
        (("-config", "x", "more"), "more"),
        (("-config", "x", "-watch-config=maybe"), "--watch-config"),
        pytest.param(("-config", "x", "-tls-cert-file", "c"), "--tls-key-file", marks=pytest.mark.rule("C5")),
        pytest.param(("-config", "x", "-tls-key-file=k"), "--tls-cert-file", marks=pytest.mark.rule("C5")),
        (("-config", "x", "--max-body", "0"), "--max-body"),
    ],
)
@pytest.mark.rule("C5")
def test_wrong_usage_is_named_and_nothing_is_served(
    served: Served, arguments: Sequence[str], named: str
) -> None:
    result = _cli("serve", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert named in result.stderr.partition("Error: ")[2]
    assert served.listen is None


@pytest.mark.rule("C5")
def test_tls_and_limits_of_clients(served: Served) -> None:
    assert _cli("serve", "-config", "x", "-tls-cert-file=c", "-tls-key-file", "k").output == ""
    assert served.certificate == (Path("c"), Path("k"))
    assert served.limits == (256 * 1024 * 1024, None)
    assert _cli("serve", "-config", "x", "--max-body", "1", "--max-connections", "7").output == ""
    assert served.certificate is None
    assert served.limits == (1024 * 1024, 7)


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        ((), None),
        (("-watch-config",), 2.0),
        (("-watch-config=false", "--watch-interval", "0.5"), None),
        (("--watch-config", "--watch-interval", "0.5"), 0.5),
    ],
)
def test_files_are_watched_when_that_is_asked_for(
    served: Served, arguments: Sequence[str], seconds: float | None
) -> None:
    assert _cli("serve", "-config", "x", *arguments).output == ""
    assert served.watch_every == seconds


@pytest.mark.rule("C3")
@pytest.mark.parametrize(
    "arguments", [("--version",), ("serve", "-version"), ("serve", "-version", "-tls-key-file", "k")]
)
def test_the_version_comes_before_anything_else(arguments: Sequence[str]) -> None:
    result = _cli(*arguments)
    assert result.exit_code == 0
    assert result.stdout.startswith("swapcli ")
    assert result.stdout.count("\n") == 1


def test_check_a_good_file(tmp_path: Path) -> None:
    good = tmp_path / "good.yaml"
    good.write_text(_GOOD)
    result = _cli("check", good)
    assert (result.exit_code, result.output) == (0, f"{good}: ok, 1 model\n")


def test_check_shows_each_mistake_where_it_is(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(_GOOD)
    bad.write_text(_GOOD + "    ttl: soon\n    aliases: {}\n")
    result = _cli("check", bad, good)
    assert result.exit_code == 1
    assert f"{bad}:5:10: models.qwen.ttl: " in result.stdout
    assert f"{bad}:6:14: models.qwen.aliases: " in result.stdout
    assert f"{bad}: 2 problems\n" in result.stdout
    assert result.stdout.endswith(f"{good}: ok, 1 model\n")


def test_check_warns_and_is_content(tmp_path: Path) -> None:
    file = tmp_path / "warned.yaml"
    file.write_text(_GOOD + "    ttll: 3\n")
    result = _cli("check", file)
    assert result.exit_code == 0
    assert f"warning: {file}:5:5: models.qwen.ttll: unknown key (did you mean ttl?)" in result.stdout
    assert result.stdout.endswith(f"{file}: ok, 1 model, 1 warning\n")


def test_check_refuses_what_serve_would(tmp_path: Path) -> None:
    file = tmp_path / "refused.yaml"
    file.write_text(_GOOD + "groups:\n  g:\n    members: [nobody]\n")
    result = _cli("check", file)
    assert result.exit_code == 1
    assert "'nobody'" in result.stdout
    assert result.stdout.endswith(f"{file}: 1 problem\n")


def test_check_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = _cli("check", tmp_path / "none.yaml")
    assert result.exit_code == 1
    assert f"{tmp_path / 'none.yaml'}: cannot be read: " in result.stdout


def test_check_needs_a_file() -> None:
    assert _cli("check").exit_code == 2


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """As in ``swapcli check *.yaml | head -1``."""
    (tmp_path / "good.yaml").write_text(_GOOD)
    read, write = os.pipe()
    os.close(read)
    try:
        result = subprocess.run(
            (sys.executable, "-m", "swapcli", "check", *[str(tmp_path / "good.yaml")] * 3),
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            env=_ENVIRONMENT,
            check=False,
        )
    finally:
        os.close(write)
    assert result.stderr == ""


def test_a_server_goes_on_when_nobody_reads_what_it_says() -> None:
    program = (
        "import os, sys\n"
        "from swapcli._cli import _say_if_heard\n"
        "_say_if_heard('one'); _say_if_heard('two'); print('three')\n"
        "os.write(2, b'went on')"
    )
    read, write = os.pipe()
    os.close(read)
    try:
        result = subprocess.run(
            (sys.executable, "-c", program),
            stdout=write,
            stderr=subprocess.PIPE,
            timeout=30,
            env=_ENVIRONMENT,
            check=False,
        )
    finally:
        os.close(write)
    assert (result.returncode, result.stderr) == (0, b"went on")


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("click", ["--help"], "serve"),
        ("ruamel", ["check", "x"], "serve"),
        ("hypercorn", ["serve", "--config", "x"], "serve"),
        ("xllamacpp", ["llama-server", "-m", __file__], "llama"),
        ("xllamacpp", ["demo"], "llama"),
        ("gguf", ["demo", "--files-only"], "llama"),
    ],
)
def test_a_missing_package_is_one_line_with_the_way_out(
    tmp_path: Path, missing: str, arguments: Sequence[str], extra: str
) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = {arguments!r}\n"
        "from swapcli.__main__ import main; main()"
    )
    result = _process("-c", program, environment=_ENVIRONMENT | {"XDG_CACHE_HOME": str(tmp_path)})
    assert result.returncode == 1
    assert result.stderr == (
        f"swapcli: the Python package {missing!r} is missing; "
        f"install it with: pip install 'swapcore[{extra}]'\n"
    )


def test_help_lists_the_commands_in_the_order_of_their_use() -> None:
    result = _process("-m", "swapcli", "--help")
    assert (result.returncode, result.stderr) == (0, "")
    listed = result.stdout.partition("Commands:\n")[2].split("\n")
    assert [line.split()[0] for line in listed if line] == [
        "serve",
        "demo",
        "check",
        "schema",
        "ps",
        "top",
        "logs",
        "load",
        "unload",
        "reload",
        "llama-server",
    ]


def test_help_imports_nothing_heavy() -> None:
    result = _process(
        "-m", "swapcli", "serve", "--help", environment=_ENVIRONMENT | {"PYTHONPROFILEIMPORTTIME": "1"}
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert "click" in imported
    assert not imported & {"trio", "quart", "hypercorn", "rich", "ruamel", "numpy", "xllamacpp", "swapcore"}


def test_the_reference_page_is_current() -> None:
    page = (_ROOT / "docs" / "reference" / "cli.md").read_text()
    assert page == reference(), "run: python -m swapcli._cli_reference > docs/reference/cli.md"


def test_the_reference_page_has_every_command_and_shown_option() -> None:
    page = reference()
    for name, child in command.commands.items():
        assert f"## swapcli {name}\n" in page
        for parameter in child.params:
            if not getattr(parameter, "hidden", False):
                spellings = (*parameter.opts, parameter.human_readable_name)
                assert any(spelling in page for spelling in spellings)
