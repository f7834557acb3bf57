"""``models``: what no type can rule out, names that clash, and values that fall back to global ones. Pure."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping

import attrs

from ._model import Compat, ModelConfig
from ._problem import Finding, Path, warning
from ._secrecy import without_password
from ._top_level import Configuration
from ._urls import unreachable, url_fault
from ._words import MEDIA, RESTART_POLICIES, SIGNALS

_COMFY = "comfyui_auto"
_COMFY_PARALLEL = 50
_TASKKILL = "taskkill /f /t /pid ${PID}"


def byte_order(name: str) -> bytes:
    """Sort key of ids: by their UTF-8 bytes."""
    return name.encode(errors="surrogatepass")


def collect_aliases(models: Mapping[str, ModelConfig], findings: list[Finding]) -> dict[str, str]:
    """Every alias and its model's id. Clashes are appended to *findings*; the first owner keeps the alias."""
    owners: dict[str, str] = {}
    for id in sorted(models, key=byte_order):
        for at, alias in enumerate(models[id].aliases):
            if alias in owners:
                findings.append(
                    Finding(
                        ("models", id, "aliases", at),
                        f"duplicate alias {alias!r}: {owners[alias]} has it already",
                    )
                )
            else:
                owners[alias] = id
                if alias in models and alias != id:
                    findings.append(
                        warning(
                            ("models", id, "aliases", at),
                            f"the name {alias!r} is the model of that id, not this one",
                        )
                    )
    return owners


def add_parameter_aliases(
    models: Mapping[str, ModelConfig], owners: dict[str, str], findings: list[Finding]
) -> dict[str, ModelConfig]:
    """*models* with the names of ``filters.setParamsByID`` as aliases too, which also get into *owners*."""
    changed = dict(models)
    for id in sorted(models, key=byte_order):
        names = models[id].filters.set_params_by_id
        if not names:
            continue
        added: list[str] = []
        for name in names:
            path = ("models", id, "filters", "setParamsByID", name)
            if name == id:
                continue
            if name in models:
                findings.append(Finding(path, f"{name} is another model"))
            elif owners.setdefault(name, id) != id:
                findings.append(
                    Finding(
                        path,
                        f"duplicate alias {name!r}: {owners[name]} has it already, {id} gets it from here",
                    )
                )
            elif name not in models[id].aliases:
                added.append(name)
        changed[id] = attrs.evolve(models[id], aliases=(*models[id].aliases, *added))
    return changed


def check_model(id: str, model: ModelConfig) -> Iterator[Finding]:
    """What is wrong with one model, which is as structured."""
    path = ("models", id)
    if not model.cmd.strip():
        yield warning((*path, "cmd"), "there is no command: the model cannot be started")
    if model.ttl < -1:
        yield Finding((*path, "ttl"), f"must be -1 or more, not {model.ttl}")
    if model.unload_timeout < 0:
        yield Finding((*path, "unloadTimeout"), f"must not be negative: {model.unload_timeout}")
    capabilities = model.capabilities
    for key, media in (("in", capabilities.inputs), ("out", capabilities.outputs)):
        for at, medium in enumerate(media):
            if medium not in MEDIA:
                what = f"{medium!r} is none of {', '.join(MEDIA)}"
                yield Finding((*path, "capabilities", key, at), what)
    if capabilities.context < 0:
        what = f"must not be negative: {capabilities.context}"
        yield Finding((*path, "capabilities", "context"), what)
    if fault := url_fault(model.proxy):
        yield Finding((*path, "proxy"), f"no URL: {without_password(model.proxy)!r} has {fault}")
    elif not model.proxy:
        if model.cmd.strip():
            yield warning((*path, "proxy"), "there is no URL: the model cannot be started")
    elif reason := unreachable(model.proxy):
        what = f"nothing can be sent to {without_password(model.proxy)!r}: {reason}"
        yield warning((*path, "proxy"), what)
    endpoint = model.check_endpoint.strip()
    if fault := url_fault(endpoint):
        yield Finding((*path, "checkEndpoint"), f"no path: {endpoint!r} has {fault}")
    for at, entry in enumerate(model.env):
        if entry.find("=") < 1:
            yield warning((*path, "env", at), "is not NAME=value; ignored")
        elif "\0" in entry:
            yield Finding((*path, "env", at), "an environment variable cannot hold NUL")
    yield from _check_own_keys(path, model)


def _check_own_keys(path: Path, model: ModelConfig) -> Iterator[Finding]:
    if model.health_check_timeout is not None and model.health_check_timeout <= 0:
        yield warning((*path, "healthCheckTimeout"), "must be more than 0; the global one is used")
    if model.max_waiting is not None and model.max_waiting < 0:
        yield Finding((*path, "maxWaiting"), f"must not be negative: {model.max_waiting}")
    if signal_name(model.stop_signal) not in SIGNALS:
        yield Finding(
            (*path, "stopSignal"), f"unknown signal {model.stop_signal!r}: one of {', '.join(SIGNALS)}"
        )
    restart = model.restart
    if restart.policy not in RESTART_POLICIES:
        what = f"unknown policy {restart.policy!r}: one of {', '.join(RESTART_POLICIES)}"
        yield Finding((*path, "restart", "policy"), what)
    if restart.intensity < 1:
        yield Finding((*path, "restart", "intensity"), f"must be at least 1, not {restart.intensity}")
    numbers = {
        ("restart", "period"): restart.period,
        ("restart", "backoff"): restart.backoff,
        ("restart", "backoffMax"): restart.backoff_max,
        ("liveness", "every"): model.liveness.every,
        ("liveness", "silent"): model.liveness.silent,
    }
    for keys, value in numbers.items():
        if value < 0:
            yield Finding((*path, *keys), f"must not be negative: {value}")


def signal_name(text: str) -> str:
    """``TERM`` for ``SIGTERM``, ``term`` and ``15``."""
    name = text.strip().upper()
    if name.isdecimal() and name.isascii() and len(name) < 4:
        try:
            name = signal.Signals(int(name)).name
        except ValueError:
            return name
    return name.removeprefix("SIG")


def with_model_defaults(config: Configuration, *, windows: bool) -> dict[str, ModelConfig]:
    """The models of *config*, with the global values where they have none of their own."""
    return {id: _with_defaults(id, model, config, windows=windows) for id, model in config.models.items()}


def _with_defaults(id: str, model: ModelConfig, config: Configuration, *, windows: bool) -> ModelConfig:
    own_timeout = model.health_check_timeout
    changed = attrs.evolve(
        model,
        ttl=config.global_ttl if model.ttl == -1 else model.ttl,
        unload_timeout=model.unload_timeout or config.unload_timeout,
        send_loading_state=config.send_loading_state
        if model.send_loading_state is None
        else model.send_loading_state,
        health_check_timeout=own_timeout if own_timeout and own_timeout > 0 else config.health_check_timeout,
        stop_signal=signal_name(model.stop_signal),
        cmd_stop=model.cmd_stop or (_TASKKILL if windows else ""),
    )
    if id == _COMFY:
        changed = attrs.evolve(
            changed,
            concurrency_limit=max(changed.concurrency_limit, _COMFY_PARALLEL),
            compat=Compat(ignore_websockets=True),
        )
    return changed
