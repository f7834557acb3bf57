"""Peers, selectors and profiles: every name must mean one thing, and every target something. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from ._matrix import fit_together
from ._model import PeerConfig
from ._problem import Finding, Path, warning
from ._routing import DEFAULT_GROUP, Selector
from ._secrecy import without_password
from ._top_level import Configuration, Hooks, OnStartup
from ._urls import unreachable, url_fault
from ._words import STRATEGIES


def check_peers(config: Configuration) -> Iterator[Finding]:
    """What is wrong with the peers themselves."""
    for name, peer in config.peers.items():
        path = ("peers", name)
        if peer == PeerConfig():
            # `name:` and nothing else loads in llama-swap, as a peer that offers nothing.
            yield warning(path, "the peer has neither proxy nor models; it offers nothing")
            continue
        if not peer.proxy:
            yield Finding((*path, "proxy"), "a peer needs a proxy")
        elif fault := url_fault(peer.proxy):
            yield Finding((*path, "proxy"), f"no URL: {without_password(peer.proxy)!r} has {fault}")
        elif reason := unreachable(peer.proxy):
            yield warning(
                (*path, "proxy"), f"nothing can be sent to {without_password(peer.proxy)!r}: {reason}"
            )
        if not peer.models:
            yield Finding((*path, "models"), "a peer needs at least one model")


def peer_table(peers: Mapping[str, PeerConfig], findings: list[Finding]) -> dict[str, tuple[str, str]]:
    """Every name of a peer's model: in full, and bare where only one peer offers it."""
    full: dict[str, tuple[str, str]] = {}
    bare: dict[str, tuple[str, str] | None] = {}
    for name, peer in peers.items():
        for at, model in enumerate(peer.models):
            target = (name, model)
            if full.setdefault(f"{name}/{model}", target) != target:
                other = full[f"{name}/{model}"]
                what = f"the name {name}/{model} is also that of {other[1]!r} at peer {other[0]!r}"
                findings.append(Finding(("peers", name, "models", at), what))
            if bare.setdefault(model, target) != target:
                bare[model] = None
    return {name: target for name, target in bare.items() if target is not None} | full


def check_reserved_names(config: Configuration) -> Iterator[Finding]:
    """A full name of a peer's model is nothing else's."""
    taken: list[tuple[str, Path, str]] = []
    taken += ((id, ("models", id), "a model id") for id in config.models)
    taken += ((alias, ("models", id, "aliases"), f"an alias of {id}") for alias, id in config.aliases.items())
    taken += ((id, ("selectors", id), "a selector") for id in config.selectors)
    taken += (
        (pin, ("profiles", name, "pins", pin), f"a pin of profile {name}")
        for name, profile in config.profiles.items()
        for pin in profile.pins
    )
    for name, path, what in taken:
        target = config.peer_models.get(name)
        if target is not None and f"{target[0]}/{target[1]}" == name:
            yield Finding(path, f"{name} is {what}, but it is the full name of a model of peer {target[0]}")


def _is_target(config: Configuration, name: str) -> bool:
    return config.resolve(name) is not None or name in config.peer_models


def check_selectors(config: Configuration) -> Iterator[Finding]:
    """What is wrong with the selectors."""
    for id, selector in config.selectors.items():
        path = ("selectors", id)
        if not id.strip():
            yield Finding(path, "the id must not be blank", at_key=True)
        if id in config.models:
            yield Finding(path, "a model has this id", at_key=True)
        elif id in config.aliases:
            what = f"this is an alias of the model {config.aliases[id]}"
            yield Finding(path, what, at_key=True)
        if not selector.strategy:
            yield Finding((*path, "strategy"), f"required: {', '.join(STRATEGIES)}")
        elif selector.strategy not in STRATEGIES:
            what = f"must be one of {', '.join(STRATEGIES)}, not {selector.strategy!r}"
            yield Finding((*path, "strategy"), what)
        if not selector.targets:
            yield Finding((*path, "targets"), "at least one model is needed")
        wrong = list(_check_targets(config, id, selector))
        yield from wrong
        if selector.strategy == "spillover":
            if selector.settings.spillover < 1:
                what = f"must be at least 1, not {selector.settings.spillover}"
                yield Finding((*path, "settings", "spillover"), what)
            if not wrong:
                yield from _check_spillover(config, id, selector)


def _check_targets(config: Configuration, id: str, selector: Selector) -> Iterator[Finding]:
    for at, target in enumerate(selector.targets):
        path = ("selectors", id, "targets", at)
        if target in config.selectors:
            yield Finding(path, f"{target!r} is a selector, and selectors cannot be chained")
        elif not _is_target(config, target):
            yield Finding(path, f"no model {target!r}")
        elif selector.strategy == "warm" and config.resolve(target) is None:
            yield Finding(path, f"{target!r} is a peer's model; strategy warm takes local ones only")


def _check_spillover(config: Configuration, id: str, selector: Selector) -> Iterator[Finding]:
    seen: dict[str | tuple[str, str], str] = {}
    local: list[str] = []
    for at, target in enumerate(selector.targets):
        model = config.resolve(target)
        identity = model if model is not None else config.peer_models[target]
        if identity in seen:
            what = f"{target!r} is the same model as {seen[identity]!r}"
            yield Finding(("selectors", id, "targets", at), what)
        elif model is not None:
            local.append(model)
        seen.setdefault(identity, target)
    if len(local) < 2:
        return
    path = ("selectors", id, "targets")
    place = "spillover needs its local targets"
    if config.matrix_program is not None:
        match fit_together(config.matrix_program, local):
            case False:
                yield Finding(
                    path,
                    f"{place} to run together, but no alternative of a matrix set has {', '.join(local)}",
                )
            case None:
                yield warning(
                    path, "the matrix is too large to find out whether the targets may run together"
                )
            case True:
                pass
        return
    if config.routing.router.use == "matrix":
        return  # the matrix itself is at fault, and reported
    groups = config.routing.router.settings.groups
    homes = {member: name for name, group in groups.items() for member in group.members}
    first = homes[local[0]]
    if first == DEFAULT_GROUP:
        yield Finding(path, f"{place} in a group with swap: false; {local[0]} is in no group")
    elif groups[first].swap:
        yield Finding(path, f"{place} in a group with swap: false; the group {first} of {local[0]} swaps")
    else:
        for model in local[1:]:
            if homes[model] != first:
                yield Finding(
                    path, f"{place} in one group; {model} is in {homes[model]}, {local[0]} in {first}"
                )


def check_profiles(config: Configuration) -> Iterator[Finding]:
    """What is wrong with the profiles."""
    for name, profile in config.profiles.items():
        path = ("profiles", name)
        if not name.strip():
            yield Finding(path, "a name must not be blank", at_key=True)
        if not profile.pins:
            yield Finding((*path, "pins"), "at least one name is needed")
        for pin, target in profile.pins.items():
            where = (*path, "pins", pin)
            if not pin.strip():
                yield Finding(where, "a name must not be blank", at_key=True)
            if target and target not in config.selectors and not _is_target(config, target):
                yield Finding(where, f"no model or selector {target!r}")


def with_preload(config: Configuration, findings: list[Finding]) -> Configuration:
    """*config* with its preload list resolved to model ids; other names are warned about and left out."""
    preload = []
    for at, name in enumerate(config.hooks.on_startup.preload):
        id = config.resolve(name.strip())
        if id is not None:
            preload.append(id)
        elif name.strip():
            where = ("hooks", "on_startup", "preload", at)
            findings.append(warning(where, f"no local model {name.strip()!r}; nothing is loaded for it"))
    return attrs.evolve(config, hooks=Hooks(OnStartup(tuple(preload))))
