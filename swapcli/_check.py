"""What `swapcli check` finds in one configuration file, as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from .config import ConfigurationError, load, render


@attrs.frozen
class Verdict:
    """Whether a file can be served, and everything to tell the user about it."""

    ok: bool
    text: str


def check_file(file: Path, *, environ: Mapping[str, str]) -> Verdict:
    """Read ``file``, or the YAML files of a directory, as `serve` would. Raises nothing."""
    try:
        loaded = load((file,), environ=environ)
    except ConfigurationError as error:
        count = counted(len(error.problems), "problem")
        return Verdict(False, "\n".join((*map(render, error.problems), f"{file}: {count}")))
    lines = [*map(render, loaded.refusals), *(f"warning: {render(problem)}" for problem in loaded.warnings)]
    summary = [f"{file}: ok", counted(len(loaded.config.models), "model")]
    if loaded.refusals:
        summary = [f"{file}: {counted(len(loaded.refusals), 'problem')}"]
    if loaded.warnings:
        summary.append(counted(len(loaded.warnings), "warning"))
    return Verdict(not loaded.refusals, "\n".join((*lines, ", ".join(summary))))


def counted(number: int, noun: str) -> str:
    """``1 model``, ``2 models``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
