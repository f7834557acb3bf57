"""From nodes to plain Python values: aliases followed, merge keys merged, scalars typed."""

from __future__ import annotations

from typing import Any

import attrs

from ._nodes import MAX_DEPTH, Alias, Mapping, Node, Scalar, Sequence
from ._problem import Problem, Severity
from ._scalars import Timestamp, UnfitTag, resolve, scalar_text

_MERGE = "<<"
_MERGE_TAG = "tag:yaml.org,2002:merge"

# The bomb limit of yaml.v3: how much of a document may come from following aliases.
_ALIAS_FREE = 100
_NODES_FREE = 1000
_RATIO_FULL, _RATIO_LEAST = 0.99, 0.10
_FALLS_FROM, _FALLS_TO = 400_000, 4_000_000


class ExcessiveAliasing(Exception):
    """Following the aliases would make far more of the document than it is."""


def _allowed_ratio(nodes: int) -> float:
    share = min(1.0, max(0.0, (nodes - _FALLS_FROM) / (_FALLS_TO - _FALLS_FROM)))
    return _RATIO_FULL - share * (_RATIO_FULL - _RATIO_LEAST)


def is_merge(key: Node) -> bool:
    """``<<`` as YAML means it, unquoted."""
    return isinstance(key, Scalar) and key.text == _MERGE and key.plain and key.tag in (None, "!", _MERGE_TAG)


def key_text(key: Scalar, *, written: bool) -> str | None:
    """The string that *key* is in a map; ``None``: it is null, and its entry does not count.

    Args:
      written: as it is in the file; else a number or a date as llama-swap would print it.
    """
    if key.plain:
        value = resolve(key.text, plain=True, tag=key.tag)
        if value is None:
            return None
        if not written and not isinstance(value, str):
            return scalar_text(value)
        if not written and isinstance(value, Timestamp):
            return str(value)
    return key.text


@attrs.define(eq=False)
class _Conversion:
    """One walk over a document."""

    problems: list[Problem]
    reported: set[tuple[int, int, str]] = attrs.Factory(set[tuple[int, int, str]])
    path: list[str | int] = attrs.Factory(list[str | int])
    nodes: int = 0
    aliased: int = 0
    alias_depth: int = 0

    def report(self, node: Node, message: str, severity: Severity = Severity.ERROR) -> None:
        """Once for each place, however many aliases lead there."""
        place = (id(node.source), node.offset, message)
        if place not in self.reported:
            self.reported.add(place)
            self.problems.append(node.source.problem(node.offset, message, tuple(self.path), severity))

    def value(self, node: Node, depth: int) -> Any:
        self.nodes += 1
        if self.alias_depth:
            self.aliased += 1
            if (
                self.aliased > _ALIAS_FREE
                and self.nodes > _NODES_FREE
                and self.aliased > self.nodes * _allowed_ratio(self.nodes)
            ):
                raise ExcessiveAliasing
        match node:
            case Scalar(text=text, plain=plain, tag=tag):
                if tag is None and not plain:
                    return text
                try:
                    return resolve(text, plain=plain, tag=tag)
                except UnfitTag as error:
                    self.report(node, str(error))
                    return None
            case Alias(target=target):
                self.alias_depth += 1
                try:
                    return self.value(target, depth)
                finally:
                    self.alias_depth -= 1
            case _ if depth == MAX_DEPTH:
                self.report(node, f"nested more than {MAX_DEPTH} deep")
                return None
            case Sequence(items=items):
                return self.sequence(items, depth)
            case Mapping():
                return self.mapping(node, depth)

    def sequence(self, items: list[Node], depth: int) -> list[Any]:
        values = []
        self.path.append(0)
        for index, item in enumerate(items):
            self.path[-1] = index
            values.append(self.value(item, depth + 1))
        self.path.pop()
        return values

    def mapping(self, node: Mapping, depth: int) -> dict[str, Any]:
        path = self.path
        macros = _is_macros(path)
        # Names that the user made up are taken as they are written: the model `3.10` is not the model `3.1`.
        written = macros or path == ["models"]
        values: dict[str, Any] = {}
        merged: list[Node] = []
        first: dict[str, Scalar] = {}
        for key, item in node.pairs:
            if not isinstance(key, Scalar):
                target = key.target if isinstance(key, Alias) else key
                if not isinstance(target, Scalar):
                    self.report(key, "a key must be a single word or string, not a list or a map")
                    continue
                key = target
            self.nodes += 1
            if (before := first.setdefault(key.text, key)) is not key:
                line = before.source.problem(before.offset, "").line
                path.append(key.text)
                self.report(key, f"the key {key.text!r} is already defined at line {line}")
                path.pop()
                continue
            if not macros and is_merge(key):
                merged.append(item)
                continue
            try:
                text = key_text(key, written=written)
            except UnfitTag as error:
                self.report(key, str(error))
                continue
            if text is None:
                self.report(key, "an entry without a key is ignored", Severity.WARNING)
                continue
            path.append(text)
            values[text] = self.value(item, depth + 1)
            path.pop()
        for item in merged:
            for name, value in self.merge(item, depth).items():
                values.setdefault(name, value)
        return values

    def merge(self, node: Node, depth: int) -> dict[str, Any]:
        """What a ``<<`` brings in: one map, or a list of maps of which an earlier one wins."""
        target = node.target if isinstance(node, Alias) else node
        maps: list[Node] = target.items if isinstance(target, Sequence) else [node]
        values: dict[str, Any] = {}
        for item in maps:
            part = item.target if isinstance(item, Alias) else item
            if not isinstance(part, Mapping):
                self.report(item, "<< takes a map or a list of maps")
                continue
            self.alias_depth += part is not item or target is not node
            # Nothing, where the map is nested too deep.
            for name, value in (self.value(part, depth + 1) or {}).items():
                values.setdefault(name, value)
            self.alias_depth -= part is not item or target is not node
        return values


def _is_macros(path: list[str | int]) -> bool:
    return path == ["macros"] or (len(path) == 3 and path[0] == "models" and path[2] == "macros")


def convert(root: Mapping, problems: list[Problem]) -> dict[str, Any]:
    """The values of *root*, fresh ones for every alias. What is wrong is appended to *problems* and left out.

    Raises:
      ExcessiveAliasing: an alias bomb; nothing was built beyond the limit.
    """
    values: dict[str, Any] = _Conversion(problems).value(root, 0)
    return values
