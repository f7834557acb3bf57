"""The commands that ask something of a running server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

if TYPE_CHECKING:
    from ._answers import ConfigurationProblem, Fleet
    from ._client import Client

_DEFAULT_URL = "http://127.0.0.1:8080"
_P = ParamSpec("_P")
_JSON_HELP = "Print the server's answer as JSON."


def _client_command(function: Callable[Concatenate[Client, bool, _P], None]) -> Callable[..., None]:
    """Give a command the options that all of these have."""

    @click.option(
        "--url",
        envvar="SWAPCLI_URL",
        default=_DEFAULT_URL,
        show_default=True,
        show_envvar=True,
        metavar="URL",
        help="The server.",
    )
    @click.option(
        "--api-key",
        envvar="SWAPCLI_API_KEY",
        default="",
        show_envvar=True,
        metavar="KEY",
        help="Its key, if it wants one.",
    )
    @click.option("--json", "as_json", is_flag=True, help=_JSON_HELP)
    @wraps(function)
    def command(url: str, api_key: str, as_json: bool, *args: _P.args, **kwargs: _P.kwargs) -> None:
        from ._client import Client

        function(Client(url.rstrip("/"), api_key), as_json, *args, **kwargs)

    return command


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, ensure_ascii=False).encode())  # whatever the locale, it is UTF-8


@click.command(short_help="List the models of a running server.")
@click.option("--all", "everything", is_flag=True, help="Stopped models, too.")
@_client_command
def ps(client: Client, as_json: bool, everything: bool) -> None:
    """List the models that run, or that are waited for: state, requests, memory, load times.

    \b
        swapcli ps
        swapcli ps --all --json
    """
    from ._answers import Fleet

    fleet = client.ask("GET", "/api/fleet", Fleet)
    if as_json:
        if not everything:
            fleet["models"] = [m for m in fleet["models"] if m["state"] != "stopped" or m["waiting"]]
        _print_json(fleet)
        return
    from ._fleet_table import console, models_table

    table = models_table(fleet, everything=everything)
    if table.row_count:
        console().print(table)
    else:
        click.echo(f"none of {len(fleet['models'])} models runs", err=True)


@click.command(short_help="Show what a model of a running server writes.")
@click.argument("model", metavar="MODEL")
@click.option("-f", "--follow", is_flag=True, help="Go on with what it writes from now on, until Ctrl-C.")
@_client_command
def logs(client: Client, as_json: bool, model: str, follow: bool) -> None:
    """Print what the processes of MODEL wrote last, up to 100 KiB.

    \b
        swapcli logs qwen
        swapcli logs -f qwen
        swapcli logs --json qwen    one JSON object for each line
    """
    pieces = client.stream("GET", "/logs/stream/" if follow else "/api/models/log/", model)
    with suppress(KeyboardInterrupt):  # the way to end it
        for piece in _as_json_lines(pieces, model) if as_json else pieces:
            click.echo(piece, nl=False)


def _as_json_lines(pieces: Iterator[bytes], model: str) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield b"".join(_json_line(model, line) for line in lines)
    if rest:
        yield _json_line(model, rest)


def _json_line(model: str, line: bytes) -> bytes:
    text = line.removesuffix(b"\r").decode(errors="replace")
    return json.dumps({"model": model, "line": text}, ensure_ascii=False).encode() + b"\n"


@click.command(short_help="Load a model of a running server.")
@click.argument("model", metavar="MODEL")
@_client_command
def load(client: Client, as_json: bool, model: str) -> None:
    """Load MODEL, stopping others where it may not run beside them, and wait until it is ready.

    \b
        swapcli load qwen
    """
    _do(client, as_json, "/api/models/load/", model, f"{model} is ready")


@click.command(short_help="Stop models of a running server.")
@click.argument("model", required=False, metavar="[MODEL]")
@_client_command
def unload(client: Client, as_json: bool, model: str | None) -> None:
    """Stop MODEL, or every model, and wait until it is gone. Requests to it are broken off.

    \b
        swapcli unload qwen
        swapcli unload
    """
    if model is None:
        _do(client, as_json, "/api/models/unload", "", "every model is stopped")
    else:
        _do(client, as_json, "/api/models/unload/", model, f"{model} is stopped")


def _do(client: Client, as_json: bool, path: str, model: str, said: str) -> None:
    client.do(path, model)
    if as_json:
        _print_json({"msg": "ok"})
    else:
        click.echo(said)


@click.command(short_help="Let a running server read its configuration again.")
@click.option("--dry-run", is_flag=True, help="Only say what it would change.")
@_client_command
def reload(client: Client, as_json: bool, dry_run: bool) -> None:
    """Let the server take over an edited configuration, and say what changed.

    Only models that the edit concerns are restarted, once their requests have ended. A configuration with
    mistakes changes nothing; they are shown, and the status is 1.

    \b
        swapcli reload --dry-run
        swapcli reload
    """
    from ._answers import Reloaded
    from ._client import Refused

    try:
        answer = client.ask("POST", "/api/reload?dry_run=1" if dry_run else "/api/reload", Reloaded)
    except Refused as refused:
        if as_json:
            _print_json(refused.answer)
            click.get_current_context().exit(1)
        for problem in refused.problems:
            click.echo(_problem_line(problem), err=True)
        raise
    if as_json:
        _print_json(answer)
        return
    for warning in answer["warnings"]:
        click.echo(f"warning: {_problem_line(warning)}", err=True)
    click.echo(f"dry run: {answer['summary']}" if dry_run else answer["summary"])


def _problem_line(problem: ConfigurationProblem) -> str:
    place = problem["file"] + (f":{problem['line']}:{problem['column']}" if problem["line"] else "")
    return ": ".join(part for part in (place, problem["path"], problem["message"]) if part)


@click.command(short_help="Watch the models of a running server.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks.",
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N looks.")
@_client_command
def top(client: Client, as_json: bool, interval: float, count: int | None) -> None:
    """Show models, their states, memory, requests and the last swaps, until Ctrl-C.

    With --json one JSON object is printed for each look.

    \b
        swapcli top
        swapcli top --json --interval 10 >> history.jsonl
    """
    looks = _looks(client, interval, count)
    with suppress(KeyboardInterrupt):  # the way to end it
        if as_json:
            for fleet in looks:
                _print_json(fleet)
        else:
            _show_live(client.url, looks)


def _show_live(url: str, looks: Iterator[Fleet]) -> None:
    from rich.live import Live

    from ._fleet_table import console, screen

    terminal = console()
    if not terminal.is_terminal:  # a file or a pipe: nothing can be drawn over
        for fleet in looks:
            terminal.print(screen(fleet, url))
        return
    with Live(screen(next(looks), url), console=terminal, auto_refresh=False) as live:
        for fleet in looks:
            live.update(screen(fleet, url), refresh=True)


def _looks(client: Client, interval: float, count: int | None) -> Iterator[Fleet]:
    import time

    from ._answers import Fleet

    while True:
        yield client.ask("GET", "/api/fleet", Fleet)
        if count is not None and (count := count - 1) == 0:
            return
        time.sleep(interval)


COMMANDS = (ps, top, logs, load, unload, reload)
