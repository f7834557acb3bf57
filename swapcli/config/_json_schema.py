"""A JSON Schema of the configuration file, for editors. Made from the classes, so it knows every key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

import attrs

from ._filters import ModelFilters
from ._macros import Macro
from ._structure import LEGACY_STRIP
from ._top_level import Configuration
from ._yaml_keys import attributes_of, meaning_of, words_of

# Any value may be a macro's: a string in the file, a number once it is expanded.
_REFERENCE = {"type": "string", "pattern": r"\$\{"}
_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
_NUMBER: dict[str, Any] = {"anyOf": [{"type": ["number", "null"]}, _REFERENCE]}
_WORDS = ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF"]
_BOOLEAN: dict[str, Any] = {"anyOf": [{"type": ["boolean", "null"]}, {"enum": _WORDS}, _REFERENCE]}
_SIMPLE: dict[Any, dict[str, Any]] = {str: _SCALAR, int: _NUMBER, float: _NUMBER, bool: _BOOLEAN, Any: {}}


def schema(*, strict: bool = False) -> dict[str, Any]:
    """The schema of a configuration file, as JSON Schema 2020-12.

    It is an aid to writing: it accepts every file that loads, and some that do not. One exception: it rejects
    a ``logLevel`` or ``logTimeFormat`` of which loading only warns.

    Args:
      strict: unknown keys are errors, except those at the top that begin with ``x-``.
    """
    definitions = _Definitions(strict=strict)
    root = definitions.reference(Configuration)
    if strict:
        definitions.found[Configuration.__name__]["patternProperties"] = {"^x-": {}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of swapcli serve",
        **root,
        "$defs": definitions.found,
    }


class _Definitions:
    """The classes' schemas, each made when it is first referred to."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.found: dict[str, dict[str, Any]] = {}

    def reference(self, cls: type) -> dict[str, Any]:
        if cls.__name__ not in self.found:
            self.found[cls.__name__] = {}  # before its own classes are looked at
            self.found[cls.__name__] = self.of_class(cls)
        return {"$ref": f"#/$defs/{cls.__name__}"}

    def of_class(self, cls: type) -> dict[str, Any]:
        properties = {
            key: self.of_attribute(attribute) | {"description": meaning_of(attribute)}
            for key, attribute in attributes_of(cls).items()
        }
        if cls is ModelFilters:
            properties[LEGACY_STRIP] = {"description": "Older spelling of `stripParams`.", "deprecated": True}
        summary = (cls.__doc__ or "").split("\n")[0]
        entry = {"type": ["object", "null"], "description": summary, "properties": properties}
        return entry | ({"additionalProperties": False} if self.strict else {})

    def of_attribute(self, attribute: attrs.Attribute[Any]) -> dict[str, Any]:
        words, spelling = words_of(attribute)
        if not words:
            return self.of_type(attribute.type)
        # An editor offers the words of the first; the others are for what is written differently.
        rule: dict[str, Any] = {"anyOf": [{"enum": [*words, None]}, _REFERENCE]}
        if spelling:
            rule["anyOf"].append({"type": ["string", "number"], "pattern": spelling})
        if get_origin(attribute.type) is tuple:
            return {"type": ["array", "null"], "items": rule}
        return rule

    def of_type(self, kind: Any) -> dict[str, Any]:
        if kind in _SIMPLE:
            return dict(_SIMPLE[kind])
        arguments = get_args(kind)
        if get_origin(kind) is tuple:
            if arguments[0] is Macro:
                scalar = {"type": ["string", "number", "boolean"]}
                return {"type": ["object", "null"], "additionalProperties": scalar}
            return {"type": ["array", "null"], "items": self.of_type(arguments[0])}
        if get_origin(kind) is Mapping:
            return {"type": ["object", "null"], "additionalProperties": self.of_type(arguments[1])}
        if arguments:  # something or null
            return self.of_type(arguments[0])
        assert attrs.has(kind)
        return self.reference(kind)
