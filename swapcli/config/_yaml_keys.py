"""How an attribute of a configuration class is written in YAML, and what it means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import attrs

_KEY = "yaml_key"
_MEANING = "meaning"
_SECRET = "secret"
_WORDS = "words"
_SPELLING = "spelling"


def yaml(
    meaning: str,
    *,
    key: str | None = None,
    secret: bool = False,
    words: tuple[str, ...] = (),
    spelling: str = "",
) -> dict[str, Any]:
    """The metadata of an attribute that is a YAML key.

    Args:
      meaning: for the reference; the unit, and what the special values do.
      key: where it is not the attribute's name in camelCase.
      secret: is masked wherever a configuration is shown.
      words: the values that there are, or those of each item of a list; for the schema, checks are elsewhere.
      spelling: a pattern for other ways to write them.
    """
    return {_MEANING: meaning, _KEY: key, _SECRET: secret, _WORDS: words, _SPELLING: spelling}


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


@cache
def attributes_of(cls: type) -> Mapping[str, attrs.Attribute[Any]]:
    """The attributes of *cls* that are YAML keys, by key, in order."""
    attrs.resolve_types(cls)
    return {
        attribute.metadata[_KEY] or _camel(attribute.name): attribute
        for attribute in attrs.fields(cls)
        if _MEANING in attribute.metadata
    }


@cache
def keys_of(cls: type) -> frozenset[str]:
    """The YAML keys of *cls*."""
    return frozenset(attributes_of(cls))


def meaning_of(attribute: attrs.Attribute[Any]) -> str:
    """What the key means."""
    meaning: str = attribute.metadata[_MEANING]
    return meaning


def is_secret(attribute: attrs.Attribute[Any]) -> bool:
    """The value is not for everybody's eyes."""
    secret: bool = attribute.metadata[_SECRET]
    return secret


def words_of(attribute: attrs.Attribute[Any]) -> tuple[tuple[str, ...], str]:
    """The values that the key takes, none where they are not fixed; and a pattern for other spellings."""
    return attribute.metadata[_WORDS], attribute.metadata[_SPELLING]
