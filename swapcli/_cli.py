"""The command line. Each command imports what it needs when it runs: help and the engine start fast."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ._client_commands import COMMANDS as CLIENT_COMMANDS
from ._extras import MissingExtra, extra
from ._failure import Failure
from ._go_flags import GoFlagsCommand
from ._llama_server import llama_server

if TYPE_CHECKING:
    from ._listen import ListenAddress

_DEFAULT_LISTEN = "127.0.0.1:8080"


class _InOrder(click.Group):
    """A group whose help lists the commands as they were added: the most wanted first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            # As llama-swap is called, which has no commands.
            name = first.lstrip("-").partition("=")[0]
            if any(f"--{name}" in option.opts for option in self.commands["serve"].params):
                ctx.fail(f"{first} is an option of a command: swapcli serve {first} ...")
            raise


def _show_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"swapcli {version('swapcore')}")
    except PackageNotFoundError:
        click.echo("swapcli (run from its source, not installed)")
    ctx.exit()


def _listen_address(_ctx: click.Context, _param: click.Parameter, text: str) -> ListenAddress:
    from ._listen import ListenAddress

    try:
        return ListenAddress.parse(text or _DEFAULT_LISTEN)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _ui_folder(_ctx: click.Context, _param: click.Parameter, folder: Path | None) -> Path | None:
    if folder is not None and not (folder / "index.html").is_file():
        raise click.BadParameter(f"there is no index.html in {folder}")
    return folder


_version_option = click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
_listen_option = click.option(
    "--listen",
    default=_DEFAULT_LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    callback=_listen_address,
    help="Address to listen on. :8080 is every interface of this machine, [::1]:8080 is IPv6.",
)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@_version_option
def swapcli() -> None:
    """Start model servers on demand, and swap those that cannot run at once.

    \b
        swapcli demo                        try it: three tiny models, nothing to set up
        swapcli serve --config config.yaml  serve your own models
        swapcli ps                          what a running server does
    """


@swapcli.command(
    cls=GoFlagsCommand,
    short_help="Serve the models of a configuration.",
    context_settings={"allow_extra_args": True},  # to say what was probably meant by them
)
@click.option(
    "--config",
    "configs",
    multiple=True,
    metavar="FILE",
    help="YAML file that says which models there are, in the format of llama-swap.",
)
@click.option(
    "--config-dir",
    metavar="DIR",
    help="Also read the *.yaml and *.yml files of this directory, merged in order.",
)
@_listen_option
@click.option("--watch-config", is_flag=True, help="Reload when a file of the configuration was edited.")
@click.option(
    "--watch-interval",
    type=click.FloatRange(min=0.05),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks at the files with --watch-config.",
)
@click.option(
    "--tls-cert-file", metavar="FILE", help="Speak TLS with this certificate (PEM, the whole chain)."
)
@click.option("--tls-key-file", metavar="FILE", help="Its key (PEM, without a passphrase).")
@click.option(
    "--max-body",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    metavar="MIB",
    help="Longest body of a request to a model, which is held in memory.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(min=1),
    metavar="N",
    help="Connections of clients at once.  [default: 10000, or what the system allows]",
)
@click.option(
    "--ui-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    callback=_ui_folder,
    metavar="DIR",
    help="Show this build of a web page at /ui/, such as llama-swap's, instead of our own.",
)
@_version_option
def serve(
    configs: Sequence[str],
    config_dir: str | None,
    listen: ListenAddress,
    watch_config: bool,
    watch_interval: float,
    ui_dir: Path | None,
    tls_cert_file: str | None,
    tls_key_file: str | None,
    max_body: int,
    max_connections: int | None,
) -> None:
    """Serve the models of a configuration, starting and swapping them as requests come.

    The first Ctrl-C or SIGTERM lets running requests end; the second one does not wait for them.
    SIGHUP reads the configuration again: only models that an edit concerns are restarted, once their
    requests have ended. llama-swap's spellings (-config, -listen, ...) work too.

    \b
        swapcli serve --config config.yaml
        swapcli serve --config config.yaml --listen :8080
    """
    if extra_arguments := click.get_current_context().args:
        word = extra_arguments[0]
        raise click.UsageError(f"unexpected {word!r}; the configuration is named like this: --config {word}")
    certificate = None
    if tls_cert_file and tls_key_file:
        certificate = Path(tls_cert_file), Path(tls_key_file)
    elif tls_cert_file or tls_key_file:
        # Plain HTTP where TLS was asked for would be worse than no server.
        raise click.UsageError("--tls-cert-file and --tls-key-file are of use together only")
    if len(configs) > 1:
        _warn(f"--config was given {len(configs)} times; the last one counts, {configs[-1]}")
    sources = tuple(Path(source) for source in (*configs[-1:], config_dir) if source)
    if not sources:
        raise Failure("no configuration: name one with --config FILE, or try `swapcli demo`")
    _run(
        sources,
        listen,
        _announce_server,
        watch_every=watch_interval if watch_config else None,
        certificate=certificate,
        max_body=max_body * 1024 * 1024,
        max_connections=max_connections,
        ui_folder=ui_dir,
    )


@swapcli.command(short_help="Try it: three tiny models, made on the spot.")
@_listen_option
@click.option("--files-only", is_flag=True, help="Only write the files, and say where the configuration is.")
def demo(listen: ListenAddress, files_only: bool) -> None:
    """Make three tiny models, two that chat and one for embeddings, and serve them, one at a time.

    Nothing is downloaded. The files stay in the user's cache directory, with a configuration to learn from;
    once you have changed that file it is kept as it is.

    Needs the extra `llama`: pip install 'swapcore[serve,llama]'

    \b
        swapcli demo
        swapcli demo --listen 127.0.0.1:9000
    """
    from .demo import DemoFiles, demo_directory, prepare

    directory = demo_directory()
    try:
        with _extra_or_failure("llama"):
            # Say it now if it is missing, not when the first model starts.
            import xllamacpp  # type: ignore[import-untyped]  # noqa: F401
        files: DemoFiles = prepare(directory, progress=lambda line: click.echo(line, err=True))
    except MissingExtra as missing:
        raise Failure(str(missing)) from missing
    except (OSError, ValueError) as error:
        raise Failure(f"cannot write the demo's files: {error}") from error
    if files.kept:
        _warn(f"{files.config} was edited, so it is kept; delete it to get the original back")
    if files_only:
        click.echo(files.config)
        return
    _run((files.config,), listen, lambda urls: _announce_demo(files.config, urls))


@swapcli.command(short_help="Look for mistakes in configurations, and show what they mean.")
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option("--config-dir", metavar="DIR", help="Merge the files of DIR into FILE, as `serve` does.")
@click.option("--strict", is_flag=True, help="Unknown keys, missing programs and missing files are errors.")
@click.option(
    "--show", is_flag=True, help="Print the configuration as YAML, defaults filled in, macros expanded."
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print it as one JSON document, with what follows from it: words of commands, meanings of names.",
)
@click.option("--secrets", is_flag=True, help="Do not mask keys and variables in what is printed.")
@click.option(
    "--explain",
    is_flag=False,
    flag_value="",
    metavar="[MODEL]",
    help="Say what a request for MODEL would stop; without MODEL, which models may run together.",
)
def check(
    files: Sequence[str],
    config_dir: str | None,
    strict: bool,
    show: bool,
    as_json: bool,
    secrets: bool,
    explain: str | None,
) -> None:
    """Read each FILE, or each directory of files, as `serve` would, and show every mistake where it is.

    Nothing is started. Besides mistakes it finds what would fail later: programs and model files that are not
    there, and ports that two models want at once. With --show or --explain it looks at the file only, and
    mistakes go to standard error.

    Ends with status 0 if all can be served, 1 if one cannot, 2 for wrong usage.

    \b
        swapcli check config.yaml
        swapcli check config.yaml --config-dir conf.d
        swapcli check config.yaml --show --json
        swapcli check config.yaml --explain qwen
    """
    # `--explain FILE`: what follows is no model when nothing else is a file.
    if not files and not config_dir and explain:
        files, explain = (explain,), ""
    if not files and not config_dir:
        raise click.UsageError("Missing argument 'FILE...'.")
    if config_dir and len(files) > 1:
        raise click.UsageError("--config-dir goes with one FILE")
    show = show or as_json
    if show and explain is not None:
        raise click.UsageError("--show and --explain are two questions: ask one at a time")
    if (show or explain is not None) and len(files) > 1:
        raise click.UsageError("--show and --explain take one FILE")
    if secrets and not show:
        raise click.UsageError("--secrets goes with --show")
    with _extra_or_failure("serve"):
        from ._check import check_sources
        from ._check_show import as_json as to_json, as_yaml as to_yaml
        from ._explain import NotExplained, explain as explained
        from .config import effective, written_out
    failed = False
    directories = (Path(config_dir),) if config_dir else ()
    for sources in [(Path(file), *directories) for file in files] or [directories]:
        asked = show or explain is not None
        verdict = check_sources(sources, environ=os.environ, strict=strict, machine=not asked)
        if not asked or verdict.problems:
            click.echo(verdict.text, err=asked)
        failed = failed or not verdict.ok
        if verdict.loaded is None:
            continue
        config = verdict.loaded.config
        if show:
            text = (
                to_json(effective(config, secrets=secrets))
                if as_json
                else to_yaml(written_out(config, secrets=secrets))
            )
            click.echo(text, nl=False)
        elif explain is not None and verdict.planner is not None:
            try:
                click.echo(explained(config, verdict.planner, explain))
            except NotExplained as error:
                raise Failure(str(error)) from error
    if failed:
        click.get_current_context().exit(1)


@swapcli.command(short_help="Print the JSON Schema of configurations, for editors.")
@click.option("--strict", is_flag=True, help="Unknown keys are errors, as in `swapcli check --strict`.")
def schema(strict: bool) -> None:
    """Print the JSON Schema of the configuration: every key, its type, its meaning, and its words if fixed.

    Ends with status 0.

    \b
        swapcli schema --strict > swapcli.schema.json
    """
    with _extra_or_failure("serve"):
        from .config import schema as schema_of
    import json

    click.echo(json.dumps(schema_of(strict=strict), indent=2))


for client_command in CLIENT_COMMANDS:
    swapcli.add_command(client_command)
swapcli.add_command(llama_server)


def _run(
    sources: Sequence[Path],
    listen: ListenAddress,
    announce: Callable[[Sequence[str]], None],
    *,
    watch_every: float | None = None,
    certificate: tuple[Path, Path] | None = None,
    max_body: int | None = None,
    max_connections: int | None = None,
    ui_folder: Path | None = None,
) -> None:
    """Serve until told to stop, then end the command with the server's status."""
    with _extra_or_failure("serve"):
        from ._check import counted
        from ._listen import CannotListen
        from ._serve import serve as serve_until_stopped
        from .activity.journal import StoreRefused
        from .config import ConfigurationError, render
        from .http import CannotUseCertificate
    try:
        status = serve_until_stopped(
            sources=sources,
            listen=listen,
            watch_every=watch_every,
            announce=announce,
            certificate=certificate,
            max_body=max_body,
            max_connections=max_connections,
            ui_folder=ui_folder,
        )
    except (CannotListen, CannotUseCertificate) as error:
        raise Failure(str(error)) from error
    except StoreRefused as error:
        raise Failure(str(error)) from error
    except ConfigurationError as error:
        lines = [*map(render, error.problems), *(f"warning: {render(p)}" for p in error.warnings)]
        click.echo("\n".join(lines), err=True)
        raise Failure(f"{counted(len(error.problems), 'problem')} in the configuration") from error
    click.get_current_context().exit(status)


def _announce_server(urls: Sequence[str]) -> None:
    from ._listen import network_note

    if note := network_note(urls):
        _say_if_heard(f"swapcli: {note}", err=True)


def _announce_demo(config: Path, urls: Sequence[str]) -> None:
    from ._listen import url_from_here
    from .demo import curl_lines

    _announce_server(urls)
    lines = (
        f"The demo's configuration: {config}",
        "Ask its models, from another terminal. Each says its name, and only one of them runs at a time:",
        "",
        *(f"    {line}" for line in curl_lines(url_from_here(urls[0]))),
        "",
        f"Or watch them in a browser: {url_from_here(urls[0])}/ui/",
        "Ctrl-C ends it.",
    )
    _say_if_heard(*lines)


def _say_if_heard(*lines: str, err: bool = False) -> None:
    """Print ``lines``; a server goes on when nobody reads what it says (``swapcli serve | head``)."""
    try:
        click.echo("\n".join(lines), err=err)
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
        # What Python still holds for the closed pipe would fail once more at exit.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), (sys.stderr if err else sys.stdout).fileno())


@contextmanager
def _extra_or_failure(name: str) -> Iterator[None]:
    try:
        with extra(name):
            yield
    except MissingExtra as missing:
        raise Failure(str(missing)) from missing


def _warn(message: str) -> None:
    click.echo(f"swapcli: warning: {message}", err=True)
