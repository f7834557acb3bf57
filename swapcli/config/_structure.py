"""From plain values to the configuration classes, with cattrs. Every mismatch is found, with its path."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import ClassValidationError
from cattrs.gen import make_dict_structure_fn, override

from ._filters import ModelFilters
from ._macros import Macro
from ._problem import Finding, Path
from ._routing import Profile
from ._scalar_types import NotThisType, boolean, free_form, integer, number, text, type_of
from ._secrecy import is_confidential
from ._top_level import Configuration, Performance
from ._yaml_keys import attributes_of, keys_of

LEGACY_STRIP = "strip_params"
"""An older spelling of ``stripParams``, in the filters of models only."""

_SCALARS: dict[type, Callable[[Any], Any]] = {str: text, int: integer, float: number, bool: boolean}


class _Misplaced(Exception):
    """One mismatch, inside the value that cattrs was at; ``path`` leads further in."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.path = path


class _SeveralMisplaced(Exception):
    def __init__(self, parts: list[tuple[Path, Exception]]) -> None:
        super().__init__()
        self.parts = parts


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    for scalar, read in _SCALARS.items():
        converter.register_structure_hook(scalar, partial(_scalar, read))
    # Of two hooks that fit, cattrs takes the one registered later.
    converter.register_structure_hook_factory(_is_map, lambda cls: _map_hook(cls, converter))
    converter.register_structure_hook_func(_is_strings, _strings)
    converter.register_structure_hook_func(_is_macros, lambda value, _: _macros(value))
    converter.register_structure_hook_func(_is_free_form, lambda value, _: _free_form_map(value))
    converter.register_structure_hook_factory(attrs.has, lambda cls: _class_hook(cls, converter))
    return converter


def _scalar(read: Callable[[Any], Any], value: Any, _: Any) -> Any:
    return read(value)


def _is_strings(cls: Any) -> bool:
    return get_origin(cls) is tuple and get_args(cls)[0] is str


def _is_macros(cls: Any) -> bool:
    return get_origin(cls) is tuple and get_args(cls)[0] is Macro


def _is_map(cls: Any) -> bool:
    return get_origin(cls) is Mapping


def _is_free_form(cls: Any) -> bool:
    return _is_map(cls) and get_args(cls)[1] is Any


def _strings(value: Any, _: Any) -> tuple[str, ...]:
    """A list of scalars; null is an empty list, and a null in a list is not there."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise NotThisType("a list of strings", value)
    strings: list[str] = []
    wrong: list[tuple[Path, Exception]] = []
    for at, item in enumerate(value):
        if item is None:
            continue
        try:
            strings.append(item if type(item) is str else text(item))
        except NotThisType as error:
            wrong.append(((at,), error))
    if wrong:
        raise _SeveralMisplaced(wrong)
    return tuple(strings)


def _macros(value: Any) -> tuple[Macro, ...]:
    # What may not be in here has been reported where macros are read; only what is fit is kept.
    if not isinstance(value, dict):
        return ()
    return tuple(
        Macro(name, content) for name, content in value.items() if not isinstance(content, dict | list)
    )


def _expect_map(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NotThisType("a map", value)
    return value


def _free_form_map(value: Any) -> dict[str, Any]:
    return {} if value is None else {key: free_form(item) for key, item in _expect_map(value).items()}


def _map_hook(cls: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    value_type = get_args(cls)[1]
    read = converter.get_structure_hook(value_type)
    # What a null entry is: an empty string, 0, or a thing with every default.
    empty = {str: "", int: 0}.get(value_type, {})

    def structure(value: Any, _: Any) -> dict[str, Any]:
        if value is None:
            return {}
        entries: dict[str, Any] = {}
        wrong: list[tuple[Path, Exception]] = []
        for key, item in _expect_map(value).items():
            try:
                entries[key] = read(empty if item is None else item, value_type)
            except Exception as error:
                wrong.append(((key,), error))
        if wrong:
            raise _SeveralMisplaced(wrong)
        return entries

    return structure


def _class_hook(cls: type, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    attributes = attributes_of(cls)
    names = {attribute.name: key for key, attribute in attributes.items()}
    settings: dict[str, Any] = {
        # What is no YAML key is worked out later.
        attribute.name: override(rename=names.get(attribute.name), omit=attribute.name not in names)
        for attribute in attrs.fields(cls)
    }
    read: Callable[[Any, Any], Any] = make_dict_structure_fn(
        cls, converter, _cattrs_detailed_validation=True, **settings
    )
    # Null means "as if absent", except for a list or a map, which it empties.
    nullable = frozenset(
        key for key, attribute in attributes.items() if get_origin(attribute.type) in (tuple, Mapping)
    )
    prepare = _PREPARE.get(cls)

    def structure(value: Any, _: Any) -> Any:
        if prepare is not None:
            value = prepare(value)
        entries = _expect_map(value)
        if None in entries.values():
            entries = {key: item for key, item in entries.items() if item is not None or key in nullable}
        return read(entries, cls)

    return structure


def _with_legacy_strip(value: Any) -> Any:
    """`strip_params`, the older spelling, counts where `stripParams` is absent or empty."""
    if isinstance(value, dict) and value.get("stripParams") in (None, "") and LEGACY_STRIP in value:
        legacy = value[LEGACY_STRIP]
        if legacy is not None and isinstance(legacy, dict | list):
            raise _Misplaced((LEGACY_STRIP,), f"expected a string, not {type_of(legacy)}")
        return {**value, "stripParams": legacy}
    return value


def _mention_legacy_list(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    raise NotThisType("a map with pins", value, hint=": the legacy list syntax of profiles is gone")


def _only_text_durations(value: Any) -> Any:
    if isinstance(value, dict) and isinstance(every := value.get("every"), bool | int | float):
        raise _Misplaced(("every",), f"expected a duration such as 5s, not {type_of(every)}")
    return value


_PREPARE: dict[type, Callable[[Any], Any]] = {
    ModelFilters: _with_legacy_strip,
    Profile: _mention_legacy_list,
    Performance: _only_text_durations,
}
_CONVERTER = _converter()


def _mismatches(error: BaseException, path: Path) -> Iterator[Finding]:
    match error:
        case ClassValidationError():
            keys = {attribute.name: key for key, attribute in attributes_of(error.cl).items()}
            for inner, note in error.group_exceptions()[0]:
                yield from _mismatches(inner, (*path, keys.get(note.name, note.name)))
            for inner in error.group_exceptions()[1]:
                yield from _mismatches(inner, path)
        case _SeveralMisplaced(parts=parts):
            for further, inner in parts:
                yield from _mismatches(inner, (*path, *further))
        case _Misplaced(path=further):
            yield Finding((*path, *further), str(error))
        case NotThisType():
            yield Finding(path, error.discreet if is_confidential(path) else str(error))
        case _:
            raise error


def structure(values: dict[str, Any], findings: list[Finding]) -> Configuration:
    """*values* as a `Configuration`. What does not fit is appended to *findings* and taken for absent."""
    while True:
        try:
            configuration: Configuration = _CONVERTER.structure(values, Configuration)
        except (ClassValidationError, _SeveralMisplaced, NotThisType) as error:
            found = list(_mismatches(error, ()))
            findings.extend(found)
            values = copy.deepcopy(values)
            # From the end, so that taking an element out of a list does not move those still to go.
            for finding in sorted(
                found, key=lambda f: [(isinstance(p, int), p) for p in f.path], reverse=True
            ):
                _take_out(values, finding.path)
        else:
            return configuration


def _take_out(values: Any, path: Path) -> None:
    for part in path[:-1]:
        values = values[part]
    if len(path) == 2 and isinstance(values, dict):
        values[path[-1]] = None  # as empty as it gets, but there: a model that others name stays a model
    else:
        del values[path[-1]]


def unknown_keys(values: dict[str, Any]) -> Iterator[tuple[Path, frozenset[str]]]:
    """The paths of all keys of *values* that no class has, each with the keys that it might have been."""
    yield from _unknown(values, Configuration, ())


def _unknown(values: Any, cls: type, path: Path) -> Iterator[tuple[Path, frozenset[str]]]:
    if not isinstance(values, dict):
        return
    known = keys_of(cls)
    if not values.keys() <= known:
        for key in values:
            if key not in known and not (cls is ModelFilters and key == LEGACY_STRIP):
                yield (*path, key), known
    for key, inner, is_map in _nested(cls):
        value = values.get(key)
        if not isinstance(value, dict):
            continue
        if is_map:
            for name, entry in value.items():
                yield from _unknown(entry, inner, (*path, key, name))
        else:
            yield from _unknown(value, inner, (*path, key))


@cache
def _nested(cls: type) -> tuple[tuple[str, type, bool], ...]:
    """The keys of *cls* whose values are classes, or maps of them."""
    found: list[tuple[str, type, bool]] = []
    for key, attribute in attributes_of(cls).items():
        candidates = get_args(attribute.type) or (attribute.type,)
        inner = next((c for c in candidates if isinstance(c, type) and attrs.has(c) and c is not Macro), None)
        if inner is not None:
            found.append((key, inner, get_origin(attribute.type) is Mapping))
    return tuple(found)
