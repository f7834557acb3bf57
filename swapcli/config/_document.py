"""The sources as one document: its values, and the place of each."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf, Sequence as SequenceOf
from contextlib import suppress
from typing import Any

import attrs

from ._environment import Environment, apply_environment
from ._merge import merge
from ._nodes import MAX_DEPTH, Alias, Mapping, Node, Scalar, Sequence, SyntaxProblem, compose, walk
from ._problem import ConfigurationError, Finding, Path, Problem
from ._scalars import UnfitTag
from ._source import Source
from ._values import ExcessiveAliasing, convert, is_merge, key_text

_Entry = tuple[Node | None, Node]
"""A key, or none where it is an item of a list, and its value."""


@attrs.frozen(eq=False)
class Document:
    """The merged sources: their values, and the nodes that the values came from."""

    root: Mapping | None
    values: dict[str, Any]
    fallback: Source
    """Where a problem of the document as a whole is put."""
    _entries: dict[Mapping, dict[str, _Entry]] = attrs.field(init=False, factory=dict)
    """Of the maps that were looked into: a map may have thousands of problems in it."""

    def problem_of(self, finding: Finding) -> Problem:
        """*finding* at its value or key, or at the nearest thing around it that the user wrote."""
        place = self.locate(finding.path, at_key=finding.at_key)
        source, offset = (self.fallback, None) if place is None else (place.source, place.offset)
        return source.problem(offset, finding.message, finding.path, finding.severity)

    def locate(self, path: Path, *, at_key: bool = False) -> Node | None:
        """The node of the value of *path*, or of its key; the nearest key around it when nobody wrote it."""
        here: Node | None = self.root
        key: Node | None = None
        for part in path:
            entry = self._entry(here, part)
            if entry is None:
                return key
            key, here = entry[0] or entry[1], entry[1]
        # An absent value points nowhere; its key does.
        return key if at_key or (isinstance(here, Scalar) and here.empty) else here

    def holds_anchors(self, path: Path) -> bool:
        """Something in the value of *path* has a name for aliases."""
        node = self.locate(path)
        return node is not None and any(getattr(inner, "anchored", False) for _, inner in walk(node))

    def _entry(self, node: Node | None, part: str | int) -> _Entry | None:
        match _followed(node), part:
            case Sequence(items=items), int() if part < len(items):
                return None, items[part]
            case Mapping() as mapping, str():
                if mapping not in self._entries:
                    self._entries[mapping] = _entries(mapping)
                return self._entries[mapping].get(part)
            case _:
                return None


def _followed(node: Node | None) -> Node | None:
    return node.target if isinstance(node, Alias) else node


def _entries(mapping: Mapping, depth: int = 0) -> dict[str, _Entry]:
    """The entries of *mapping* by their keys, as written and as read, and those that ``<<`` adds."""
    scalars = [(key, value) for k, value in mapping.pairs if isinstance(key := _followed(k), Scalar)]
    entries: dict[str, _Entry] = {}
    for key, value in scalars:
        entries.setdefault(key.text, (key, value))
    for key, value in scalars:
        with suppress(UnfitTag):
            if (text := key_text(key, written=False)) is not None:
                entries.setdefault(text, (key, value))
    merged = [_followed(value) for key, value in scalars if is_merge(key)]
    for target in merged if depth < MAX_DEPTH else ():
        for item in target.items if isinstance(target, Sequence) else [target]:
            if isinstance(part := _followed(item), Mapping):
                for text, entry in _entries(part, depth + 1).items():
                    entries.setdefault(text, entry)
    return entries


def read_document(
    sources: SequenceOf[Source], environ: MappingOf[str, str], problems: list[Problem]
) -> Document:
    """The merged *sources*. What is wrong with them is appended to *problems* and left out.

    Raises:
      ConfigurationError: a source is no YAML map, so that there is nothing to go on with.
    """
    fatal: list[Problem] = []
    merged: Mapping | None = None
    for source in sources:
        environment = apply_environment(source, environ)
        try:
            root = compose(environment.source, environment.text)
        except SyntaxProblem as error:
            # An unset variable may well be the reason that this is no YAML.
            fatal += _every_reference(environment) or [environment.source.problem(error.offset, str(error))]
            continue
        problems += _unusable_variables(environment)
        problems += _unset_variables(environment, root)
        match root:
            case Mapping(pairs=[_, *_]):
                merged = root if merged is None else merge(merged, root, problems)
            case Sequence(items=[_, *_]):
                fatal.append(
                    root.source.problem(root.offset, "the root of the file must be a mapping, not a list")
                )
            case _:
                pass  # empty, or a lone word: llama-swap takes it for nothing
    if fatal:
        raise ConfigurationError([*problems, *fatal])
    if merged is None:
        return Document(None, {}, sources[0])
    try:
        values = convert(merged, problems)
    except ExcessiveAliasing:
        raise ConfigurationError([*problems, merged.source.problem(None, "excessive aliasing")]) from None
    return Document(merged, values, sources[0])


def _reference_problem(environment: Environment, name: str, offset: int, path: Path = ()) -> Problem:
    reason = environment.unusable.get(name, "is not set")
    return environment.source.problem(offset, f"the environment variable {name} {reason}", path)


def _first(environment: Environment, name: str, offset: int = 0) -> int:
    return environment.text.find(f"${{env.{name}}}", offset)


def _every_reference(environment: Environment) -> list[Problem]:
    """A problem for each variable that is not replaced, in comments too."""
    names = sorted(environment.unset | environment.unusable.keys())
    return [_reference_problem(environment, name, _first(environment, name)) for name in names]


def _unusable_variables(environment: Environment) -> list[Problem]:
    return [_reference_problem(environment, name, _first(environment, name)) for name in environment.unusable]


def _unset_variables(environment: Environment, root: Node | None) -> list[Problem]:
    """A problem for each use of an unset variable.

    In a comment it does no harm, unless the file is no YAML before substitution: then nobody can tell what is
    a comment.
    """
    if not environment.unset:
        return []
    problems: dict[int, Problem] = {}
    used: set[str] = set()
    for path, node in walk(root) if root is not None else ():
        if not isinstance(node, Scalar) or "${env." not in node.text:
            continue
        for name in environment.unset:
            if f"${{env.{name}}}" in node.text:
                used.add(name)
                offset = _first(environment, name, node.offset)
                problems[offset] = _reference_problem(environment, name, offset, path)
    hidden = sorted(environment.unset - used)
    if hidden and not _is_yaml(environment.source):
        for name in hidden:
            offset = _first(environment, name)
            problems[offset] = _reference_problem(environment, name, offset)
    return list(problems.values())


def _is_yaml(source: Source) -> bool:
    try:
        compose(source, source.text)
    except SyntaxProblem:
        return False
    return True
