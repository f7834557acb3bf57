"""A loaded configuration as plain data under its YAML keys, with what follows from it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs

from ._command import split_command
from ._filters import PeerFilters
from ._macros import Macro
from ._matrix_dsl import MatrixProgram
from ._model import ModelConfig
from ._routing import Matrix
from ._top_level import Configuration, Performance
from ._yaml_keys import attributes_of, is_secret

MASK = "***"


def effective(
    config: Configuration, *, secrets: bool = False, windows: bool = os.name == "nt"
) -> dict[str, Any]:
    """What *config* means: every key with its value in force, and values that are derived from them.

    Derived are: ``models.*.cmd_argv`` (``{"$error": True}`` for a command without words),
    ``filters.strip_list``, ``.set_params_effective``, ``.set_params_keys``, ``capabilities.empty``,
    ``performance.every_seconds``, ``aliases``, ``macros`` as pairs, the matrix' ``sets`` as pairs in their
    order, and ``matrix.resolved_costs``.

    Args:
      secrets: show keys and the values of variables; else they are masked.
      windows: how commands are split.
    """
    dump = _Dump(config.matrix_program, secrets=secrets, windows=windows)
    result: dict[str, Any] = dump.plain(config)
    result["aliases"] = dict(config.aliases)
    if config.matrix_program is not None:
        result["matrix"] = {"resolved_costs": dict(config.matrix_program.costs)}
    return result


class _Dump:
    def __init__(self, program: MatrixProgram | None, *, secrets: bool, windows: bool) -> None:
        self.program = program
        self.secrets = secrets
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
                return self.fields(value) | self.derived(value)
            case _:
                return value

    def fields(self, value: Any) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, attribute in attributes_of(value.__class__).items():
            content = getattr(value, attribute.name)
            if is_secret(attribute) and not self.secrets and content:
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
        env = list(model.env)
        if not self.secrets:
            env = [
                f"{name}{equals}{MASK}" if equals else name
                for name, equals, _ in (e.partition("=") for e in env)
            ]
        return {
            "cmd_argv": argv or {"$error": True},
            "capabilities": self.fields(model.capabilities) | {"empty": model.capabilities.empty},
            "env": env,
        }
