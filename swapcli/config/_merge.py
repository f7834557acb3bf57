"""Several files become one document. Pure; on nodes, so that every value keeps its place in its own file."""

from __future__ import annotations

from ._nodes import Alias, Mapping, Node, Scalar, Sequence
from ._problem import Path, Problem, path_text
from ._scalars import UnfitTag, resolve

_WHOLE_ENTRIES = frozenset(
    {
        ("models",),
        ("groups",),
        ("profiles",),
        ("selectors",),
        ("peers",),
        ("matrix",),
        ("routing", "router", "settings", "groups"),
        ("routing", "router", "settings", "matrix"),
    }
)
"""Maps of things with names of their own. A name stands in one file only, and is never pieced together."""


def merge(earlier: Mapping, later: Mapping, problems: list[Problem]) -> Mapping:
    """*earlier* with what *later* adds. Conflicts are appended to *problems*, and the earlier value stays."""
    return _merge_mappings(earlier, later, (), problems)


def _merge_mappings(earlier: Mapping, later: Mapping, path: Path, problems: list[Problem]) -> Mapping:
    pairs = list(earlier.pairs)
    places = {key.text: at for at, (key, _) in enumerate(pairs) if isinstance(key, Scalar)}
    for key, value in later.pairs:
        at = places.get(key.text) if isinstance(key, Scalar) else None
        if at is None or not isinstance(key, Scalar):
            pairs.append((key, value))
        elif path in _WHOLE_ENTRIES:
            problems.append(
                later.source.problem(
                    key.offset,
                    f"duplicate: {path_text(path)} already has {key.text} in {pairs[at][0].source.name}",
                    (*path, key.text),
                )
            )
        else:
            before = pairs[at]
            pairs[at] = (before[0], _merge_nodes(before[1], value, (*path, key.text), problems))
            # Once only: a key that the later file repeats is added beside it, and reported as repeated.
            del places[key.text]
    return Mapping(pairs, earlier.source, earlier.offset)


def _merge_nodes(earlier: Node, later: Node, path: Path, problems: list[Problem]) -> Node:
    match earlier, later:
        case Mapping(), Mapping():
            return _merge_mappings(earlier, later, path, problems)
        case _ if path in _WHOLE_ENTRIES:
            reason = "must be a map in every file that has it"
        case Sequence(), Sequence():
            return Sequence([*earlier.items, *later.items], earlier.source, earlier.offset)
        case Scalar(), Scalar() if _same(earlier, later) or later.empty:
            return earlier
        case Scalar(), _ if earlier.empty:
            return later
        case _, Scalar() if later.empty:
            return earlier
        case Scalar(), Scalar():
            there = earlier.source.problem(earlier.offset, "")
            reason = f"{there.file}:{there.line}:{there.column} says something else"
        case (Alias(), _) | (_, Alias()):
            reason = f"is also in {earlier.source.name}, and an alias cannot be merged"
        case _:
            reason = f"is of another kind in {earlier.source.name}"
    problems.append(later.source.problem(later.offset, reason, path))
    return earlier


def _same(one: Scalar, other: Scalar) -> bool:
    return one.text == other.text and _kind(one) == _kind(other)


def _kind(scalar: Scalar) -> type | str:
    try:
        return type(resolve(scalar.text, plain=scalar.plain, tag=scalar.tag))
    except UnfitTag:
        return scalar.tag or ""
