"""``routing``, ``groups`` and ``matrix``: which of them holds, and what is wrong with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from ._check_models import byte_order
from ._matrix import compile_matrix
from ._planner_name import planner_fault
from ._problem import Finding, Path, Severity, warning
from ._routing import DEFAULT_GROUP, Group, Router, RouterSettings, Routing, Scheduler
from ._top_level import Configuration
from ._words import ROUTERS, SCHEDULERS

_NEW_GROUPS: Path = ("routing", "router", "settings", "groups")
_NEW_MATRIX: Path = ("routing", "router", "settings", "matrix")


def with_router(config: Configuration, findings: list[Finding]) -> Configuration:
    """*config* with its router chosen, and its groups or matrix in one place whichever way they are spelt."""
    router = config.routing.router
    legacy = config.matrix is not None or bool(config.groups)
    new = bool(router.use) or router.settings.matrix is not None or bool(router.settings.groups)
    if legacy and new:
        key = "matrix" if config.matrix is not None else "groups"
        findings.append(
            Finding(
                (key,), f"{key} and routing.router are both used: migrate {key} to routing.router.settings"
            )
        )
    if config.matrix is not None and config.groups:
        findings.append(Finding(("matrix",), "groups and matrix cannot be used together"))
    if router.use not in ("", *ROUTERS):
        findings.append(
            Finding(
                ("routing", "router", "use"),
                f"must be group or matrix, not {router.use!r}",
            )
        )
    if router.planner and (fault := planner_fault(router.planner)):
        findings.append(Finding(("routing", "router", "planner"), fault))
    if legacy:
        matrix, groups = config.matrix, config.groups
        matrix_path: Path = ("matrix",)
        groups_path: Path = ("groups",)
    else:
        matrix = router.settings.matrix if router.use == "matrix" else None
        groups = router.settings.groups
        matrix_path, groups_path = _NEW_MATRIX, _NEW_GROUPS
        if router.use == "matrix" and matrix is None:
            findings.append(
                Finding(("routing", "router", "use"), "matrix requires routing.router.settings.matrix")
            )
    if matrix is not None:
        chosen = RouterSettings({}, matrix, router.settings.planner)
        program = compile_matrix(matrix, config.models.keys(), matrix_path, findings)
    else:
        chosen = RouterSettings(
            _with_default_group(groups, config, groups_path, findings), None, router.settings.planner
        )
        program = None
    use = "group" if matrix is None else "matrix"
    return attrs.evolve(
        config,
        matrix_program=program,
        routing=Routing(Router(use, router.planner, chosen), _scheduler(config, findings)),
    )


def _with_default_group(
    groups: Mapping[str, Group], config: Configuration, path: Path, findings: list[Finding]
) -> dict[str, Group]:
    """*groups* with aliases among the members resolved, and the rest of the models in ``(default)``."""
    written = {m for name, group in groups.items() if name != DEFAULT_GROUP for m in group.members}
    homes: dict[str, str] = {}  # of each member, as it is written
    placed: set[str] = set()
    effective: dict[str, Group] = {}
    for name, group in groups.items():
        if name == DEFAULT_GROUP:
            findings.append(
                warning(
                    (*path, name),
                    "this group is made by the server: its settings are ignored, its members are in it",
                )
            )
            continue
        members = []
        for at, member in enumerate(group.members):
            where = (*path, name, "members", at)
            if member in homes:
                home = homes[member]
                what = f"group {name} twice" if home == name else f"multiple groups: {home} and {name}"
                findings.append(Finding(where, f"{member} is in {what}"))
                continue
            homes[member] = name
            id = config.resolve(member)
            if id is None:
                # llama-swap loads such a file and then cannot start with it.
                findings.append(Finding(where, f"no model has the id {member!r}", Severity.REFUSAL))
                id = member
            elif id != member:
                if id in written or id in placed:
                    findings.append(warning(where, f"{member!r} is an alias of {id!r}, a member, too"))
                    continue
                findings.append(warning(where, f"{member!r} is an alias; the model {id!r} is meant"))
            placed.add(id)
            members.append(id)
        effective[name] = attrs.evolve(group, members=tuple(members))
    rest = sorted((id for id in config.models if id not in placed), key=byte_order)
    effective[DEFAULT_GROUP] = Group(members=tuple(rest))
    return effective


def _scheduler(config: Configuration, findings: list[Finding]) -> Scheduler:
    scheduler = config.routing.scheduler
    path = ("routing", "scheduler")
    if scheduler.use not in ("", *SCHEDULERS):
        findings.append(Finding((*path, "use"), f"must be fifo, not {scheduler.use!r}"))
    fifo = scheduler.settings.fifo
    where = (*path, "settings", "fifo", "priority")
    priorities: dict[str, int] = {}
    for name, priority in fifo.priority.items():
        id = config.resolve(name)
        if id is None:
            findings.append(Finding((*where, name), f"no model or alias {name!r}"))
        elif id != name:
            if id in fifo.priority:
                findings.append(
                    warning((*where, name), f"{name!r} is an alias; the priority of {id!r} itself counts")
                )
                continue
            findings.append(
                warning((*where, name), f"{name!r} is an alias; the priority goes to the model {id!r}")
            )
        priorities[id or name] = priority
    settings = attrs.evolve(scheduler.settings, fifo=attrs.evolve(fifo, priority=priorities))
    return Scheduler("fifo", settings)
