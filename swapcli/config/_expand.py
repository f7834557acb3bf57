"""Macros, ports and the default proxy: from the values as written to the values as meant. Pure."""

from __future__ import annotations

from typing import Any

import attrs

from ._macros import (
    MAX_EXPANDED,
    Budget,
    Macro,
    Scope,
    TooMuchText,
    declared,
    has_reference,
    leftovers,
    strip_comments,
    unresolved,
    with_overrides,
)
from ._ports import PortGiver, Ports
from ._problem import Finding, Path
from ._scalar_types import NotThisType, integer, type_of
from ._scalars import scalar_text
from ._top_level import Configuration
from ._yaml_keys import keys_of

DEFAULT_PROXY = "http://localhost:${PORT}"
DEFAULT_START_PORT = 5800
_KNOWN = frozenset(keys_of(Configuration))


@attrs.define(eq=False)
class Expansion:
    """What `expand` found, beside the values that it changed."""

    macros: tuple[Macro, ...] = ()
    model_macros: dict[str, tuple[Macro, ...]] = attrs.Factory(dict[str, tuple[Macro, ...]])
    findings: list[Finding] = attrs.Factory(list[Finding])
    ports: Ports = attrs.Factory(Ports)


def expand(values: dict[str, Any], ports: Ports) -> Expansion:
    """Expand every macro in *values*, in place, and give each model that wants one its port.

    Args:
      ports: what an earlier reading gave; those models keep theirs.
    """
    expansion = Expansion()
    findings = expansion.findings
    models = values.get("models")
    if models is not None and not isinstance(models, dict):
        findings.append(Finding(("models",), f"expected a map, not {type_of(models)}"))
        models = None
    expansion.macros = declared(values.get("macros"), ("macros",), findings)
    entries: dict[str, dict[str, Any]] = {id: m for id, m in (models or {}).items() if isinstance(m, dict)}
    for id, model in entries.items():
        own = declared(model.get("macros"), ("models", id, "macros"), findings)
        expansion.model_macros[id] = own
    budget = Budget()
    try:
        _expand_globals(values, expansion, budget)
        giver = PortGiver.from_(_start_port(values, findings), ports)
        _expand_models(entries, expansion, giver, budget)
        expansion.ports = giver.ports()
    except TooMuchText:
        findings.append(Finding(("macros",), f"the macros make more than {MAX_EXPANDED} characters of text"))
    return expansion


def _expand_globals(values: dict[str, Any], expansion: Expansion, budget: Budget) -> None:
    scope = Scope(expansion.macros, budget)
    for key, value in values.items():
        if key in ("models", "macros"):
            continue
        values[key] = scope.expand_all(value)
        if key in _KNOWN:
            expansion.findings.extend(unresolved(path, name) for path, name in leftovers(values[key], (key,)))


def _start_port(values: dict[str, Any], findings: list[Finding]) -> int:
    value = values.get("startPort")
    if value is None:
        return DEFAULT_START_PORT
    try:
        port = integer(value)
    except NotThisType:
        return DEFAULT_START_PORT  # reported where every type is checked
    if port < 1:
        findings.append(Finding(("startPort",), f"must be at least 1, not {port}"))
        return DEFAULT_START_PORT
    return port


def _expand_models(
    entries: dict[str, dict[str, Any]], expansion: Expansion, ports: PortGiver, budget: Budget
) -> None:
    # Byte order, so that the same file gives the same ports wherever its models stand.
    for id in sorted(entries, key=lambda name: name.encode(errors="surrogatepass")):
        model = entries[id]
        macros = with_overrides(Macro("MODEL_ID", id), expansion.macros, expansion.model_macros[id])
        for key in ("cmd", "cmdStop"):
            if isinstance(command := model.get(key), str):
                model[key] = strip_comments(command)
        if model.get("proxy") is None:
            model["proxy"] = DEFAULT_PROXY
        own = model.pop("macros", None)
        scope = Scope(macros, budget)
        # Only a look at what they will become: expanded twice, they would take in macros declared too late.
        cmd, proxy = _expanded(scope, model.get("cmd")), _expanded(scope, model["proxy"])
        if has_reference(cmd, "PORT"):
            # First in the list is replaced last: what other macros bring in gets its port too.
            scope = Scope([Macro("PORT", ports.port_of(id)), *macros], budget)
        elif has_reference(proxy, "PORT"):
            what = f"{proxy} needs ${{PORT}}, but cmd of {id} does not use it: use it there, or set proxy"
            if not cmd or not str(cmd).strip():
                what = f"{proxy} needs ${{PORT}}, but there is no cmd that could use it: set cmd or proxy"
            # A command with an unknown reference might have used the port; that is reported below.
            if not any(leftovers(cmd, ())):
                expansion.findings.append(Finding(("models", id, "proxy"), what))
            model["proxy"] = ""
        scope.expand_all(model)
        _expand_set_params_keys(model, id, scope, expansion.findings)
        for path, name in leftovers(model, ("models", id)):
            if not (name == "PID" and path[2:] == ("cmdStop",)):
                expansion.findings.append(unresolved(path, name, id))
        if own is not None:
            model["macros"] = own


def _expanded(scope: Scope, value: Any) -> Any:
    return scope.expand(value) if isinstance(value, str) else value


def _expand_set_params_keys(model: dict[str, Any], id: str, scope: Scope, findings: list[Finding]) -> None:
    filters = model.get("filters")
    by_id = filters.get("setParamsByID") if isinstance(filters, dict) else None
    if not isinstance(by_id, dict) or not any("${" in key for key in by_id):
        return
    path: Path = ("models", id, "filters", "setParamsByID")
    expanded: dict[str, Any] = {}
    for key, value in by_id.items():
        content = scope.expand(key)
        name = scalar_text(content)
        if name in expanded:
            findings.append(
                Finding((*path, key), f"two keys of filters.setParamsByID of {id} become {name!r}")
            )
        findings.extend(unresolved((*path, key), left, id) for _, left in leftovers(name, path))
        expanded[name] = value
    assert isinstance(filters, dict)
    filters["setParamsByID"] = expanded
