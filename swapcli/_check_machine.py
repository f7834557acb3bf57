"""What would fail only when a model starts, on this machine and now. Nothing is started."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from swapcore import Endpoint, ModelSpec, StartFailed, SubprocessLauncher

from ._check_what_if import WhatIf
from .config import Loaded, Problem, Severity

_HERE = frozenset(("localhost", "::1", "0.0.0.0", "::"))


def check_machine(loaded: Loaded, what_if: WhatIf, severity: Severity) -> Iterator[Problem]:
    """Programs and files that are not there, and ports that two models or another program want.

    Args:
      severity: of what makes a start fail for certain; a port may be free by then, so that is a warning.
    """
    launcher = SubprocessLauncher()
    said = {problem.keys for problem in loaded.warnings}
    for spec in what_if.specs.values():
        path = ("models", spec.id)
        if not said.isdisjoint(((*path, "cmd"), (*path, "proxy"))):
            continue  # loading has told why it cannot be started
        try:
            launcher.preflight(spec, beside=(spec,))  # not the port
        except StartFailed as error:
            yield loaded.problem((*path, "cmd"), error.reason, severity)
            continue
        try:
            launcher.preflight(spec, beside=())
        except StartFailed as error:
            yield loaded.problem((*path, "proxy"), f"{error.reason} now", Severity.WARNING)
    yield from _port_clashes(loaded, what_if)


def _port_clashes(loaded: Loaded, what_if: WhatIf) -> Iterator[Problem]:
    by_place: dict[tuple[str, int], list[ModelSpec]] = defaultdict(list)
    for spec in what_if.specs.values():
        place = _place(spec)
        if place is None:
            continue
        for earlier in by_place[place]:
            if what_if.together(earlier.id, spec.id):
                what = f"port {place[1]} is that of {earlier.id}, too, and the two may run together"
                yield loaded.problem(("models", spec.id, "proxy"), what, Severity.WARNING)
                break
        by_place[place].append(spec)


def _place(spec: ModelSpec) -> tuple[str, int] | None:
    try:
        endpoint = Endpoint(spec.url)
    except ValueError:
        return None
    host = endpoint.host.lower()
    return ("localhost" if host in _HERE or host.startswith("127.") else host), endpoint.port
