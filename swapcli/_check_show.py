"""The effective configuration as text: YAML for people, JSON for programs."""

from __future__ import annotations

import json
import math
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter


class _Representer(SafeRepresenter):
    """Several lines as several lines, and nothing as an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, data: str) -> ScalarNode:
        node: ScalarNode = self.represent_scalar(
            "tag:yaml.org,2002:str", data, style="|" if "\n" in data else None
        )
        return node


_Representer.add_representer(str, _Representer.represent_text)


def as_yaml(values: dict[str, Any]) -> str:
    """*values* as one YAML document."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 1_000_000
    out = StringIO()
    yaml.dump(_plain(values), out)
    return out.getvalue()


def as_json(values: dict[str, Any]) -> str:
    """*values* as one JSON document; what JSON has no number for, such as infinity, is a string."""
    return json.dumps(_plain(values, finite=True), indent=2, allow_nan=False) + "\n"


def _plain(value: Any, *, finite: bool = False) -> Any:
    match value:
        case dict():
            return {str(key): _plain(item, finite=finite) for key, item in value.items()}
        case list():
            return [_plain(item, finite=finite) for item in value]
        case str():
            return str(value)  # a date is a kind of text here
        case float() if finite and not math.isfinite(value):
            return str(value)
        case _:
            return value
