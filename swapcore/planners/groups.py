"""Models in groups: within a group they take turns or not, between groups they exclude each other or not."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from .._planner import SwapPlan, SwapPlanner
from .._spec import ModelId
from .._view import FleetView
from ._in_line import named_in_vain, passing_over

DEFAULT_GROUP = "(default)"


@attrs.frozen
class Group:
    """Models that are treated alike."""

    members: tuple[ModelId, ...] = attrs.field(default=(), converter=tuple[ModelId, ...])
    swap: bool = attrs.field(default=True, kw_only=True)
    """A member that loads stops the other members."""
    exclusive: bool = attrs.field(default=True, kw_only=True)
    """A member that loads stops the models of every other group that is not ``persistent``."""
    persistent: bool = attrs.field(default=False, kw_only=True)
    """No other group stops its members. Members of the same group still do, with ``swap``."""


@attrs.frozen
class GroupsPlanner(SwapPlanner):
    """llama-swap's groups.

    ``GroupsPlanner({"chat": Group((QWEN, LLAMA)), "embed": Group((BGE,), swap=False, persistent=True)})``

    A running model gives way to a target iff it is in the target's group and that
    has ``swap``, or it is in another group that is not ``persistent`` and the
    target's is ``exclusive``. That looks one way only: a model of a group that is
    not exclusive loads beside a running one of a group that is, so the order of
    loading matters. Models in no group form the group ``(default)``, which has
    swap and exclusive unless a group of that name is given.

    Raises:
      ValueError: a model is in two groups, or twice in one.
    """

    groups: Mapping[str, Group]
    _group_of: Mapping[ModelId, str] = attrs.field(init=False, repr=False, eq=False)
    # By the name of the target's group: the groups whose running models give way.
    _clears: Mapping[str, frozenset[str]] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_group_of", _groups_by_member(self.groups))
        object.__setattr__(self, "_clears", _exclusions({DEFAULT_GROUP: Group(), **self.groups}))

    def group_of(self, model: ModelId) -> str:
        """Return the name of *model*'s group, ``(default)`` if it is in none."""
        return self._group_of.get(model, DEFAULT_GROUP)

    def evictions(self, target: ModelId, view: FleetView) -> SwapPlan:
        group = self.group_of(target)
        clears = self._clears[group]
        evict = tuple(m for m in view.running if m != target and self.group_of(m) in clears)
        return SwapPlan(evict, reason=f"{target} of group {group} excludes {', '.join(evict) or 'nobody'}")

    def choose_next(self, view: FleetView) -> ModelId | None:
        # All of a group that do not run have the same models in their way: if one was named in vain in this
        # round, so would be the others.
        stuck = {self.group_of(model) for model in named_in_vain(view)}
        if not stuck:
            return super().choose_next(view)
        others = (m for name, group in self.groups.items() if name not in stuck for m in group.members)
        if DEFAULT_GROUP in stuck and not any(m in view.waiting for m in (*others, *view.running)):
            return None  # there is nobody to be found, however long the line

        def is_stuck(model: ModelId) -> bool:
            return self.group_of(model) in stuck

        return super().choose_next(passing_over(view, is_stuck, is_stuck))


def _groups_by_member(groups: Mapping[str, Group]) -> Mapping[ModelId, str]:
    index: dict[ModelId, str] = {}
    for name, group in groups.items():
        for model in group.members:
            if model in index:
                where = (
                    f"group {name!r} twice"
                    if index[model] == name
                    else f"groups {index[model]!r} and {name!r}"
                )
                raise ValueError(f"model {model!r} is in {where}")
            index[model] = name
    return index


def _exclusions(groups: Mapping[str, Group]) -> Mapping[str, frozenset[str]]:
    def gives_way(other: str, target: str) -> bool:
        if other == target:
            return groups[target].swap
        return groups[target].exclusive and not groups[other].persistent

    return {target: frozenset(other for other in groups if gives_way(other, target)) for target in groups}
