"""A loaded configuration as plain data under its YAML keys, with what follows from it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import attrs

from ._command import split_command
from ._filters import PeerFilters
from ._macros import Macro
from ._matrix_dsl import MatrixProgram
from ._model import ModelConfig
from ._routing import DEFAULT_GROUP, Matrix
from ._secrecy import MASK, passwords_of
from ._top_level import Configuration, Performance
from ._yaml_keys import attributes_of, is_secret

_KEY_OPTIONS = frozenset(("--api-key", "--hf-token", "-hft"))
# But neither MAX_TOKENS nor TOKENIZER.
_SECRET_NAME = re.compile("KEY|TOKEN(?!S|IZ)|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"""(?:^|[\s'"])([A-Za-z_]\w*)=([^\s'"]+)""")
_LEAST_SECRET = 4
"""Shorter ones are masked where they are known to be, but would take too much else with them."""


def written_out(config: Configuration, *, secrets: bool = False) -> dict[str, Any]:
    """What *config* means, as a configuration: every key with its value in force, and nothing that is no key.

    Loaded again it means the same, but for what is masked. Groups and the matrix are under ``routing`` alone.

    Args:
      secrets: see `effective`.
    """
    dump = _Dump(config.matrix_program, secrets=secrets, derives=False)
    result: dict[str, Any] = dump.plain(config)
    del result["groups"], result["matrix"]
    result["routing"]["router"]["settings"]["groups"].pop(DEFAULT_GROUP, None)  # of all that are in no other
    return result if secrets else _without(_secrets(config, windows=os.name == "nt"), result)


def effective(
    config: Configuration, *, secrets: bool = False, windows: bool = os.name == "nt"
) -> dict[str, Any]:
    """What *config* means: every key with its value in force, and values that are derived from them.

    Derived are: ``models.*.cmd_argv`` (``{"$error": True}`` for a command without words),
    ``filters.strip_list``, ``.set_params_effective``, ``.set_params_keys``, ``capabilities.empty``,
    ``performance.every_seconds``, ``aliases``, ``macros`` as pairs, the matrix' ``sets`` as pairs in their
    order, ``matrix.resolved_costs``, and ``resolve``: every name that may be asked for, and the local model
    that it means, or itself where it means one of a peer.

    Args:
      secrets: show keys and the values of variables. Else they are masked, and so are the keys, what follows
        ``--api-key`` or ``--hf-token`` in a command, passwords in URLs and variables that are named like a
        secret, wherever else they occur.
      windows: how commands are split.
    """
    dump = _Dump(config.matrix_program, secrets=secrets, derives=True, windows=windows)
    result: dict[str, Any] = dump.plain(config)
    result["aliases"] = dict(config.aliases)
    if config.matrix_program is not None:
        result["matrix"] = {"resolved_costs": dict(config.matrix_program.costs)}
    result["resolve"] = {
        **{name: name for name in config.peer_models},
        **config.aliases,
        **{id: id for id in config.models},
    }
    return result if secrets else _without(_secrets(config, windows=windows), result)


def _secrets(config: Configuration, *, windows: bool) -> list[str]:
    """Keys that may also stand where nothing is masked, as in a macro or a command. The longest first."""
    keys = {*config.api_keys, *(peer.api_key for peer in config.peers.values())}
    for model in config.models.values():
        pairs = (entry.partition("=") for entry in model.env)
        keys.update(value for name, _, value in pairs if _SECRET_NAME.search(name))
        words = split_command(model.cmd, windows=windows)
        for word, following in pairwise((*words, "")):
            option, equals, value = word.partition("=")
            if option in _KEY_OPTIONS:
                keys.add(value if equals else following)
        for command in (model.cmd, model.cmd_stop):
            # As in `docker run -e HF_TOKEN=…`, in words of a shell's command too.
            keys.update(value for name, value in _ASSIGNMENT.findall(command) if _SECRET_NAME.search(name))
    urls = [model.proxy for model in config.models.values()] + [p.proxy for p in config.peers.values()]
    keys.update(password for url in urls for password in passwords_of(url))
    return sorted((key for key in keys if len(key) >= _LEAST_SECRET), key=len, reverse=True)


def _without(secrets: list[str], value: Any) -> Any:
    match value:
        case str() if secrets:
            for secret in secrets:
                value = value.replace(secret, MASK)
            return value
        case dict() if secrets:
            return {key: _without(secrets, item) for key, item in value.items()}
        case list() if secrets:
            return [_without(secrets, item) for item in value]
        case _:
            return value


class _Dump:
    def __init__(
        self, program: MatrixProgram | None, *, secrets: bool, derives: bool, windows: bool = False
    ) -> None:
        self.program = program
        self.secrets = secrets
        self.derives = derives
        self.windows = windows

    def plain(self, value: Any) -> Any:
        match value:
            case Macro(name, content):
                return [name, content]
            case tuple() | list():
                return [self.plain(item) for item in value]
            case Mapping():
                return {key: self.plain(item) for key, item in value.items()}
            case _ if attrs.has(type(value)):
                return self.fields(value) | (self.derived(value) if self.derives else {})
            case _:
                return value

    def fields(self, value: Any) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, attribute in attributes_of(value.__class__).items():
            content = getattr(value, attribute.name)
            if attribute.name == "env" and not self.secrets:
                result[key] = [_masked_value(entry) for entry in content]
            elif attribute.type == tuple[Macro, ...] and not self.derives:
                result[key] = {macro.name: macro.value for macro in content}
            elif is_secret(attribute) and not self.secrets and content:
                result[key] = MASK if isinstance(content, str) else [MASK] * len(content)
            else:
                result[key] = self.plain(content)
        return result

    def derived(self, value: Any) -> dict[str, Any]:
        match value:
            case ModelConfig():
                return self.model(value)
            case PeerFilters():
                settable = value.set_params_effective
                return {
                    "strip_list": list(value.strip_list),
                    "set_params_effective": settable,
                    "set_params_keys": list(settable),
                }
            case Performance(every_seconds=seconds):
                return {"every_seconds": int(seconds) if seconds.is_integer() else seconds}
            case Matrix() if self.program is not None:
                return {"sets": [[s.name, s.text] for s in self.program.sets]}
            case _:
                return {}

    def model(self, model: ModelConfig) -> dict[str, Any]:
        argv = list(split_command(model.cmd, windows=self.windows))
        return {
            "cmd_argv": argv or {"$error": True},
            "capabilities": self.fields(model.capabilities) | {"empty": model.capabilities.empty},
        }


def _masked_value(entry: str) -> str:
    """``NAME=***``; without a name it stays, for it is ignored."""
    name, equals, _ = entry.partition("=")
    return f"{name}{equals}{MASK}" if equals else name
