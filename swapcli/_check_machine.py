"""What would fail only when a model starts, on this machine and now. Nothing is started."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import attrs

from swapcore import Endpoint, ModelId, ModelSpec, StartFailed, SubprocessLauncher

from ._check_what_if import WhatIf
from .config import Loaded, Problem, Severity

_ANY_URL = "http://localhost"
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
        if (*path, "cmd") in said:
            continue  # loading has told why it cannot be started
        if has_no_url := (*path, "proxy") in said:
            spec = attrs.evolve(spec, url=_ANY_URL)
        try:
            launcher.preflight(spec, beside=(spec,))  # not the port
        except StartFailed as error:
            yield loaded.problem((*path, "cmd"), error.reason, severity)
            continue
        if has_no_url:
            continue
        try:
            launcher.preflight(spec, beside=())
        except StartFailed as error:
            yield loaded.problem((*path, "proxy"), f"{error.reason} now", Severity.WARNING)
    yield from _port_clashes(loaded, what_if)


def _port_clashes(loaded: Loaded, what_if: WhatIf) -> Iterator[Problem]:
    by_place: dict[tuple[str, int], list[ModelId]] = defaultdict(list)
    for spec in what_if.specs.values():
        place = _place(spec)
        if place is None:
            continue
        by_place[place].append(spec.id)
    for (_, port), models in by_place.items():
        for later, earlier in clashes(models, what_if).items():
            what = f"port {port} is that of {earlier}, too, and the two may run together"
            yield loaded.problem(("models", later, "proxy"), what, Severity.WARNING)


def clashes(models: Sequence[ModelId], what_if: WhatIf) -> dict[ModelId, ModelId]:
    """Those of *models* that may run beside an earlier one, whichever starts first, and that earlier one."""
    found: dict[ModelId, ModelId] = {}
    for place, model in enumerate(models):
        for earlier in what_if.startable_beside(model, models[:place]):
            found[model] = earlier
            break
    for place, model in enumerate(models):
        unknown = [later for later in models[place + 1 :] if later not in found]
        found |= dict.fromkeys(what_if.startable_beside(model, unknown), model)
    return found


def _place(spec: ModelSpec) -> tuple[str, int] | None:
    try:
        endpoint = Endpoint(spec.url)
    except ValueError:
        return None
    host = endpoint.host.lower()
    return ("localhost" if host in _HERE or host.startswith("127.") else host), endpoint.port
