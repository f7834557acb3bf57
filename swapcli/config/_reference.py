"""The tables of docs/reference/configuration.md, made from the classes.

``python -m swapcli.config._reference FILE`` brings the tables of FILE, between its ``<!-- keys: … -->`` and
``<!-- end -->`` lines, up to date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import attrs

from ._macros import Macro
from ._top_level import Configuration
from ._yaml_keys import attributes_of, meaning_of

_TABLE = re.compile(r"<!-- keys: (.*?) -->\n.*?<!-- end -->", re.DOTALL)
_NAMES: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def sections(cls: type = Configuration, path: str = "") -> Iterator[tuple[str, type]]:
    """Every map with fixed keys: its path, with ``<name>`` for keys of the user's own, and its class."""
    yield path, cls
    for key, attribute in attributes_of(cls).items():
        inner = _inner_class(attribute.type)
        if inner is not None:
            name = ".<name>" if get_origin(attribute.type) is Mapping else ""
            yield from sections(inner, f"{path}.{key}{name}".lstrip("."))


def _inner_class(kind: Any) -> type | None:
    candidates = get_args(kind) or (kind,)
    return next((c for c in candidates if isinstance(c, type) and attrs.has(c) and c is not Macro), None)


def _type_name(kind: Any) -> str:
    if kind in _NAMES:
        return _NAMES[kind]
    arguments = [argument for argument in get_args(kind) if argument is not type(None)]
    if get_origin(kind) is tuple:
        return "map of scalars" if arguments[0] is Macro else "list of strings"
    if get_origin(kind) is Mapping:
        inner = arguments[1]
        return "map" if inner is Any else f"map of {'maps' if inner not in _NAMES else _NAMES[inner] + 's'}"
    if arguments:
        return _type_name(arguments[0])
    return "map"


def _default(attribute: attrs.Attribute[Any]) -> str:
    value = attribute.default
    if isinstance(value, attrs.Factory):  # type: ignore[arg-type]
        return ""
    match value:
        case None:
            return "unset"
        case "" | ():
            return "empty"
        case bool():
            return f"`{str(value).lower()}`"
        case tuple():
            return ", ".join(f"`{_cell(item)}`" for item in value)
        case _:
            return f"`{_cell(str(value))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def table(cls: type) -> str:
    """The keys of *cls* as a Markdown table."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    rows += (
        f"| `{key}` | {_type_name(attribute.type)} | {_default(attribute)} | {_cell(meaning_of(attribute))} |"
        for key, attribute in attributes_of(cls).items()
    )
    return "\n".join(rows)


def with_tables(document: str) -> str:
    """*document* with its tables up to date."""
    classes = {path or "top level": cls for path, cls in sections()}

    def fresh(match: re.Match[str]) -> str:
        return f"<!-- keys: {match[1]} -->\n{table(classes[match[1]])}\n<!-- end -->"

    return _TABLE.sub(fresh, document)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(with_tables(file.read_text(encoding="utf-8")), encoding="utf-8")
