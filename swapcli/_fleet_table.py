"""The state of a running server as tables for a terminal."""

from __future__ import annotations

import re

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ._answers import Fleet

_STATE_STYLES = {"ready": "green", "starting": "yellow", "stopping": "yellow", "stopped": "dim"}
_WIDE = 200
"""Columns where no terminal says how many it has: a pipe, a file."""
_SWAPS = 8
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def console() -> Console:
    """Return standard output; what is read by a program is neither coloured nor cut."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(width=_WIDE, highlight=False)


def models_table(fleet: Fleet, *, everything: bool = True) -> Table:
    """Return a row for each model, or for each that is not stopped or is waited for."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("MODEL", no_wrap=True)
    table.add_column("STATE")
    for heading in ("SINCE", "IN USE", "WAITING", "MEMORY", "LOADS IN", "REQUESTS", "STARTS", "CRASHES"):
        table.add_column(heading, justify="right")
    for model in fleet["models"]:
        if not everything and model["state"] == "stopped" and not model["waiting"]:
            continue
        state = Text(model["state"], _STATE_STYLES.get(model["state"], ""))
        if model["pinned"]:
            state.append(" pinned", "cyan")
        table.add_row(
            _text(model["id"]),
            state,
            duration(model["seconds_in_state"]),
            *(str(model[key]) for key in ("leases", "waiting")),
            size(model["memory_bytes"]),
            duration(model["load_seconds"]),
            *(str(model[key]) for key in ("requests", "starts", "crashes")),
        )
    return table


def swaps_table(fleet: Fleet) -> Table:
    """Return the newest swaps."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("SWAP", no_wrap=True)
    table.add_column("STOPPED")
    for heading in ("AGO", "STOP", "LOAD"):
        table.add_column(heading, justify="right")
    table.add_column("REASON")
    for swap in fleet["swaps"][:_SWAPS]:
        table.add_row(
            _text(swap["target"]),
            _text(", ".join(swap["evicted"]) or "-"),
            *(duration(swap[key]) for key in ("seconds_ago", "stop_seconds", "load_seconds")),
            _text(swap["error"].partition("\n")[0], "red") if swap["error"] else _text(swap["reason"]),
        )
    return table


def screen(fleet: Fleet, url: str) -> RenderableType:
    """Return all of it, for `swapcli top`."""
    running = sum(model["state"] != "stopped" for model in fleet["models"])
    title = Text(
        f"{url}   {running} of {len(fleet['models'])} models run   "
        f"{fleet['leases']} requests in use   {fleet['waiting']} waiting\n"
    )
    return Group(title, models_table(fleet), Text(), swaps_table(fleet))


def _text(words: str, style: str = "") -> Text:
    """Return them without what a terminal obeys: an error repeats what a model wrote."""
    return Text(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", words), style)


def duration(seconds: float | None) -> str:
    """``0.42s``, ``7.3s``, ``3m12s``, ``2h05m``, ``4d03h``."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.2f}s" if seconds < 1 else f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours < 24 else f"{hours // 24}d{hours % 24:02}h"


def size(count: int | None) -> str:
    """``812M``, ``3.4G``: bytes in units of 1024."""
    if count is None:
        return "-"
    mebibytes = count / 2**20
    return f"{mebibytes:.0f}M" if mebibytes < 1024 else f"{mebibytes / 1024:.1f}G"
