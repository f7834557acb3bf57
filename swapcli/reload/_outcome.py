"""How a reload ended, as values and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import attrs

from swapcli.config import Changes, Problem


@attrs.frozen
class Applied:
    """The new configuration is in force; after a dry run: it could be."""

    changes: Changes
    warnings: tuple[Problem, ...]
    dry_run: bool = False


@attrs.frozen
class Refused:
    """The new configuration cannot be used. The old one stays in force, and nothing was touched."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    dry_run: bool = False


Outcome: TypeAlias = Applied | Refused


def summary(outcome: Outcome) -> str:
    """One line for people."""
    match outcome:
        case Refused(problems):
            return f"{_count(len(problems), 'problem')} in the configuration; the old one stays in force"
        case Applied(changes) if changes.nothing:
            return "nothing changed"
        case Applied(changes):
            parts = [
                f"{what} {', '.join(ids)}"
                for what, ids in (
                    ("added", changes.added),
                    ("removed", changes.removed),
                    ("restarted", changes.restarted),
                    ("changed", changes.changed),
                    ("settings", changes.settings),
                )
                if ids
            ]
            return "; ".join([*parts, f"{_count(len(changes.unchanged), 'model')} unchanged"])


def as_json(outcome: Outcome) -> dict[str, Any]:
    """What ``POST /api/reload`` answers."""
    head: dict[str, Any] = {"dry_run": outcome.dry_run, "summary": summary(outcome)}
    match outcome:
        case Refused(problems, warnings):
            return {"ok": False, **head, "problems": _listed(problems), "warnings": _listed(warnings)}
        case Applied(changes, warnings):
            return {
                "ok": True,
                **head,
                "models": {
                    "added": changes.added,
                    "removed": changes.removed,
                    "restarted": changes.restarted,
                    "changed": changes.changed,
                    "unchanged": changes.unchanged,
                },
                "settings": changes.settings,
                "warnings": _listed(warnings),
            }


def _listed(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    return [
        {"file": p.file, "line": p.line, "column": p.column, "path": p.path, "message": p.message}
        for p in problems
    ]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
