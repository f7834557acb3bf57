"""A YAML document as a tree of nodes that know where they stand. ruamel.yaml parses; the tree is ours.

Unlike ruamel's own nodes an alias is a node of its own here (merging files needs to see it), and nothing is
interpreted: the meaning of a scalar is `_scalars`' business, that of aliases and merge keys `_values`'.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from ._scanner import WhiteSpaceScanner
from ._source import Source

MAX_DEPTH = 100
"""Maps and lists inside each other. The bound keeps every walk over them off Python's stack limit."""


@attrs.frozen(eq=False)
class Scalar:
    """Text, not yet given a type."""

    text: str
    plain: bool
    tag: str | None
    source: Source = attrs.field(repr=False)
    offset: int
    anchored: bool = False

    @property
    def empty(self) -> bool:
        """``key:`` with nothing after it, which is less than a written ``null``."""
        return not self.text and self.tag in (None, "tag:yaml.org,2002:null") and self.plain


@attrs.frozen(eq=False)
class Sequence:
    """A list."""

    items: list[Node]
    source: Source = attrs.field(repr=False)
    offset: int
    anchored: bool = False


@attrs.frozen(eq=False)
class Mapping:
    """A map, with keys as written: repeated ones and merge keys included."""

    pairs: list[tuple[Node, Node]]
    source: Source = attrs.field(repr=False)
    offset: int
    anchored: bool = False


@attrs.frozen(eq=False)
class Alias:
    """``*name``."""

    target: Scalar | Sequence | Mapping = attrs.field(repr=False)
    source: Source = attrs.field(repr=False)
    offset: int


Node = Scalar | Sequence | Mapping | Alias


class SyntaxProblem(Exception):
    """The text is no YAML; ``offset`` is where it stops being any."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def compose(source: Source, text: str) -> Node | None:
    """The first document of *text*, ``None`` when there is none.

    Args:
      text: *source*'s text after substitution.
    Raises:
      SyntaxProblem: not YAML, an unknown anchor, an anchor inside itself, or nesting beyond `MAX_DEPTH`.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = WhiteSpaceScanner
    try:
        return _compose(source, yaml.parse(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise SyntaxProblem(reason, mark.index if mark else 0) from None
    except ReaderError as error:
        raise SyntaxProblem(
            f"the character {error.character:#x} is not allowed in YAML", error.position
        ) from None
    except YAMLError as error:
        raise SyntaxProblem(str(error), 0) from None


def _compose(source: Source, events: Iterator[Event]) -> Node | None:
    root: list[Node] = []
    # Lists and maps not yet closed. A map's children are collected flat and paired at its end.
    open_children: list[list[Node]] = [root]
    open_nodes: list[Sequence | Mapping] = []
    anchors: dict[str, Scalar | Sequence | Mapping] = {}
    for event in events:
        match event:
            case ScalarEvent():
                # Style None is a plain scalar; a tag on it does not make it less plain.
                anchor = event.anchor
                scalar = Scalar(
                    event.value,
                    not event.style,
                    event.tag,
                    source,
                    event.start_mark.index,
                    anchor is not None,
                )
                open_children[-1].append(scalar)
                if anchor is not None:
                    anchors[anchor] = scalar
            case MappingStartEvent() | SequenceStartEvent():
                offset = event.start_mark.index
                if len(open_nodes) == MAX_DEPTH:
                    raise SyntaxProblem(f"nested more than {MAX_DEPTH} deep", offset)
                anchor = event.anchor
                children: list[Node] = []
                node: Sequence | Mapping
                if isinstance(event, MappingStartEvent):
                    node = Mapping([], source, offset, anchor is not None)
                else:
                    node = Sequence(children, source, offset, anchor is not None)
                open_children[-1].append(node)
                open_children.append(children)
                open_nodes.append(node)
                if anchor is not None:
                    anchors[anchor] = node
            case MappingEndEvent() | SequenceEndEvent():
                children = open_children.pop()
                node = open_nodes.pop()
                if isinstance(node, Mapping):
                    node.pairs.extend(zip(children[::2], children[1::2], strict=True))
            case AliasEvent():
                offset = event.start_mark.index
                target = anchors.get(event.anchor)
                if target is None:
                    raise SyntaxProblem(f"unknown anchor {event.anchor}", offset)
                if target in open_nodes:
                    raise SyntaxProblem(f"the anchor {event.anchor} contains itself", offset)
                open_children[-1].append(Alias(target, source, offset))
            case DocumentEndEvent():
                break  # what follows a second --- is not read
            case _:
                pass
    return root[0] if root else None


def walk(node: Node) -> Iterator[tuple[tuple[str | int, ...], Node]]:
    """*node* and all in it, aliases not followed, with the path to each. A key has the path of its value."""
    waiting: list[tuple[tuple[str | int, ...], Node]] = [((), node)]
    while waiting:
        path, here = waiting.pop()
        yield path, here
        match here:
            case Sequence(items=items):
                waiting.extend(((*path, at), item) for at, item in reversed(list(enumerate(items))))
            case Mapping(pairs=pairs):
                for key, value in reversed(pairs):
                    further = (*path, key.text) if isinstance(key, Scalar) else path
                    waiting += [(further, value), (further, key)]
            case _:
                pass
