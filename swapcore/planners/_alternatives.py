"""Searches the alternatives of an expression without multiplying them out.

A model is a bit, a set of models is an int. The search for one decision knows
only the models that matter to it and what each of them is worth; it carries
the best partial answers of every part of an expression upwards. There are few
of them, because a partial answer is dropped as soon as another is at least as
good whatever the rest of the expression brings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs

from .._spec import ModelId
from .expressions import AllOf, AnyOf, Expression, Include, Model

MAX_OPTIONS = 256
"""Partial answers that are kept for one part of an expression.

When an expression names the same models again and again, the cheapest alternative is hard to find in general.
Beyond this many the most valuable go on: the answer is still an alternative, but there may be a cheaper one.
"""


@attrs.frozen(eq=False)
class Node:
    """An expression, compiled. The same set included twice is the same object."""

    members: int
    """Every model in it."""
    parts: tuple[Node, ...] = ()
    """Empty for a single model."""
    together: bool = False
    """One of each part (``&``), else one of any part (``|``)."""
    parts_with: Mapping[int, Sequence[int]] = attrs.field(factory=dict[int, Sequence[int]], repr=False)
    """For each model, the positions of the parts in which it occurs."""

    @classmethod
    def of(cls, parts: tuple[Node, ...], *, together: bool) -> Node:
        parts_with: dict[int, list[int]] = {}
        for at, part in enumerate(parts):
            for bit in bits(part.members):
                parts_with.setdefault(bit, []).append(at)
        return cls(union(part.members for part in parts), parts, together, parts_with)

    def parts_with_any(self, models: int) -> list[int]:
        """Positions of the parts in which one of *models* occurs, in order."""
        return sorted({at for bit in bits(self.members & models) for at in self.parts_with[bit]})


def bits(models: int) -> Iterator[int]:
    while models:
        bit = models & -models
        yield bit
        models ^= bit


def compile_sets(sets: Mapping[str, Expression], bit_of: Mapping[ModelId, int]) -> dict[str, Node]:
    """Compile *sets*, in the order in which they are tried: as given, but each after those that it includes.

    Raises:
      ValueError: a set includes one that is not there, or itself.
      TypeError: a part is no expression.
    """
    done: dict[str, Node] = {}
    unfinished: list[str] = []

    def compile_set(name: str) -> Node:
        if name not in done:
            if name in unfinished:
                circle = [*unfinished[unfinished.index(name) :], name]
                raise ValueError(f"the set includes itself: {' -> '.join(circle)}")
            unfinished.append(name)
            node = compile_part(sets[name])
            unfinished.pop()
            done[name] = node
        return done[name]

    def compile_part(expression: Expression) -> Node:
        match expression:
            case Model(model):
                return Node(bit_of[model])
            case Include(name):
                if name not in sets:
                    raise ValueError(f"set {unfinished[-1]!r} includes {name!r}, which is no set")
                return compile_set(name)
            case AllOf(parts) | AnyOf(parts):
                nodes = tuple(compile_part(part) for part in parts)
                return Node.of(nodes, together=isinstance(expression, AllOf))
            case _:
                raise TypeError(f"{expression!r} in set {unfinished[-1]!r} is no expression")

    for name in sets:
        compile_set(name)
    return done


def companions(nodes: Iterable[Node]) -> dict[int, int]:
    """For each model, those that are with it in some alternative; itself may be among them."""
    found: dict[int, int] = {}
    seen: set[Node] = set()

    def visit(node: Node) -> None:
        if node in seen:
            return
        seen.add(node)
        before = 0
        after = _suffix_unions(node.parts)
        for part, later in zip(node.parts, after, strict=True):
            visit(part)
            if node.together:
                for bit in bits(part.members):
                    found[bit] = found.get(bit, 0) | before | later
                before |= part.members

    for node in nodes:
        visit(node)
    return found


Option: TypeAlias = tuple[int, int, int]
"""A partial answer: what its settled models are worth, its open models, all of its models.

A model is open while another part of the expression may bring it, too. Its worth counts once it is settled.
"""

_NOTHING: Option = (0, 0, 0)


@attrs.define(eq=False)
class Search:
    """One decision."""

    _worth: Mapping[int, int]
    """What each model that matters is worth; more than 0."""
    _relevant: int = attrs.field(init=False)
    _known: dict[tuple[Node, int], list[Option]] = attrs.field(
        factory=dict[tuple[Node, int], list[Option]], init=False
    )
    is_exact: bool = attrs.field(default=True, init=False)
    """No partial answer was dropped only because there were too many."""

    def __attrs_post_init__(self) -> None:
        self._relevant = union(self._worth)

    def best(self, node: Node) -> tuple[int, int]:
        """Return the worth of the first of the most valuable alternatives, and its models that matter."""
        ((worth, _, models),) = self._options(node, 0)
        return worth, models

    def worth_of(self, models: int) -> int:
        return sum(self._worth[bit] for bit in bits(models))

    def _options(self, node: Node, elsewhere: int) -> list[Option]:
        """Return the partial answers of *node* worth keeping, in the order of its alternatives.

        Args:
          elsewhere: models that other parts of the expression may bring.
        """
        relevant = node.members & self._relevant
        if not relevant:
            return [_NOTHING]
        elsewhere &= relevant
        if not node.parts:
            return [(0, relevant, relevant) if elsewhere else (self._worth[relevant], 0, relevant)]
        key = (node, elsewhere)
        if key not in self._known:
            combine = self._combinations if node.together else self._alternatives
            self._known[key] = combine(node, elsewhere)
        return self._known[key]

    def _alternatives(self, node: Node, elsewhere: int) -> list[Option]:
        positions = node.parts_with_any(self._relevant)
        # All parts without a model that matters are alike: the first stands for them.
        plain = next((at for at, position in enumerate(positions) if at != position), len(positions))
        found: list[Option] = []
        for at, position in enumerate(positions):
            if at == plain:
                found.append(_NOTHING)
            found += self._options(node.parts[position], elsewhere)
        if plain == len(positions) < len(node.parts):
            found.append(_NOTHING)
        return self._undominated(found)

    def _combinations(self, node: Node, elsewhere: int) -> list[Option]:
        parts = [node.parts[position] for position in node.parts_with_any(self._relevant)]
        once = twice = 0
        for part in parts:
            twice |= once & part.members
            once |= part.members
        options = [_NOTHING]
        for part, later in zip(parts, _suffix_unions(parts), strict=True):
            still_open = elsewhere | (later & self._relevant)
            more = self._options(part, elsewhere | twice)
            product: list[Option] = []
            for worth, open_models, models in options:
                for more_worth, more_open, more_models in more:
                    both = open_models | more_open
                    settled = both & ~still_open
                    total = worth + more_worth + (self.worth_of(settled) if settled else 0)
                    product.append((total, both & still_open, models | more_models))
            options = self._undominated(product)
        return options

    def _undominated(self, options: list[Option]) -> list[Option]:
        """Drop each option that another replaces whatever the rest brings. The one that wins stays the same.

        The other has all of its open models, and is worth more, or is worth as much and comes earlier.
        """
        if len(options) == 1:
            return options
        best: dict[int, Option] = {}
        for option in options:
            rival = best.get(option[1])
            if rival is None:
                best[option[1]] = option
            elif option[0] > rival[0]:
                del best[option[1]]  # so that it takes its own place in the order
                best[option[1]] = option
        kept = list(best.values())
        if len(kept) > MAX_OPTIONS:
            kept = self._most_valuable(kept)
        return [
            option for at, option in enumerate(kept) if not _is_dominated(option, kept[:at], kept[at + 1 :])
        ]

    def _most_valuable(self, options: list[Option]) -> list[Option]:
        self.is_exact = False
        values = [worth + self.worth_of(open_models) for worth, open_models, _ in options]
        chosen = sorted(range(len(options)), key=lambda at: -values[at])[:MAX_OPTIONS]
        return [options[at] for at in sorted(chosen)]


def _is_dominated(option: Option, earlier: Iterable[Option], later: Iterable[Option]) -> bool:
    worth, open_models, _ = option
    return any(
        worth <= other_worth and not open_models & ~other_open for other_worth, other_open, _ in earlier
    ) or any(worth < other_worth and not open_models & ~other_open for other_worth, other_open, _ in later)


def union(members: Iterable[int]) -> int:
    union = 0
    for models in members:
        union |= models
    return union


def _suffix_unions(parts: Sequence[Node]) -> list[int]:
    """For each part, the models of those after it."""
    unions = [0] * len(parts)
    for at in range(len(parts) - 1, 0, -1):
        unions[at - 1] = unions[at] | parts[at].members
    return unions
