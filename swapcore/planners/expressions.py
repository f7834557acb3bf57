"""What a matrix is written in: values that say which models may run together.

``Model(A) & (Model(B) | Model(C))`` has two alternatives, {A, B} and {A, C}.
``&`` binds tighter than ``|``. Any part of an alternative is allowed, too.
"""

from __future__ import annotations

from typing import TypeAlias, cast

import attrs

from .._spec import ModelId


class _Operators:
    """``&`` and ``|`` between expressions."""

    __slots__ = ()

    def __and__(self, other: Expression) -> AllOf:
        parts = self.parts if isinstance(self, AllOf) else (cast("Expression", self),)
        return AllOf((*parts, other))

    def __or__(self, other: Expression) -> AnyOf:
        parts = self.parts if isinstance(self, AnyOf) else (cast("Expression", self),)
        return AnyOf((*parts, other))


def _not_empty(instance: object, _: object, parts: tuple[object, ...]) -> None:
    if not parts:
        raise ValueError(f"{type(instance).__name__} needs at least one part")


@attrs.frozen
class Model(_Operators):
    """One model: a single alternative."""

    id: ModelId


@attrs.frozen
class Include(_Operators):
    """Whatever the set of that name allows; it may be defined before or after the one that includes it."""

    set: str


@attrs.frozen
class AllOf(_Operators):
    """One alternative of each part, all at once: every union of them. `ValueError` without parts."""

    parts: tuple[Expression, ...] = attrs.field(validator=_not_empty)


@attrs.frozen
class AnyOf(_Operators):
    """The alternatives of each part, in their order. `ValueError` without parts."""

    parts: tuple[Expression, ...] = attrs.field(validator=_not_empty)


Expression: TypeAlias = Model | Include | AllOf | AnyOf
