"""What `swapcli check` finds in one configuration, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from swapcore import SwapPlanner

from ._check_machine import check_machine
from ._check_what_if import WhatIf
from .config import (
    ConfigurationError,
    Loaded,
    Problem,
    Severity,
    load,
    make_planner,
    planner_directory,
    render,
    to_specs,
)


@attrs.frozen(eq=False)
class Verdict:
    """Whether a configuration can be served, and everything to tell the user about it."""

    ok: bool
    text: str
    problems: int
    """Mistakes and warnings, of which the text says more."""
    loaded: Loaded | None = None
    """``None``: the sources make no configuration."""
    planner: SwapPlanner | None = None
    """``None``: there is no configuration, or the planner that it names cannot be had."""


def check_sources(
    sources: Sequence[Path], *, environ: Mapping[str, str], strict: bool = False, machine: bool = True
) -> Verdict:
    """Read ``sources`` together, as `serve` would. Raises nothing.

    Args:
      sources: files, and directories of YAML files, at least one.
      strict: unknown keys, and programs and files that are not there, are errors instead of warnings.
      machine: also look for what this machine lacks.
    """
    try:
        loaded = load(sources, environ=environ, strict=strict)
    except ConfigurationError as error:
        count = len(error.problems) + len(error.warnings)
        return Verdict(False, _text(sources, error.problems, error.warnings), count)
    problems = [*loaded.refusals, *loaded.warnings]
    planner: SwapPlanner | None = None
    try:
        planner = make_planner(loaded, planner_directory(sources[0]))
    except ConfigurationError as error:
        problems += error.problems
    if machine and planner is not None:
        severity = Severity.ERROR if strict else Severity.WARNING
        problems += check_machine(loaded, WhatIf(planner, to_specs(loaded.config)), severity)
    problems.sort(key=lambda problem: (problem.file, problem.line, problem.column))
    errors = [problem for problem in problems if problem.severity is not Severity.WARNING]
    warnings = [problem for problem in problems if problem.severity is Severity.WARNING]
    text = _text(sources, errors, warnings, models=len(loaded.config.models))
    return Verdict(not errors, text, len(problems), loaded, planner)


def _text(
    sources: Sequence[Path], errors: Sequence[Problem], warnings: Sequence[Problem], *, models: int = 0
) -> str:
    name = " with ".join(map(str, sources))
    lines = [*map(render, errors), *(f"warning: {render(problem)}" for problem in warnings)]
    summary = [f"{name}: {counted(len(errors), 'problem')}" if errors else f"{name}: ok"]
    if not errors:
        summary.append(counted(models, "model"))
    if warnings:
        summary.append(counted(len(warnings), "warning"))
    return "\n".join((*lines, ", ".join(summary)))


def counted(number: int, noun: str) -> str:
    """``1 model``, ``2 models``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
