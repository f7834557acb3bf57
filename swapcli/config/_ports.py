"""Which port ``${PORT}`` stands for in each model. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Ports:
    """What the models got, for the next reading of the sources: nobody's port moves because of others."""

    start: int = 0
    """The ``startPort`` they were counted from. After another one all are given anew."""
    by_model: Mapping[str, int] = attrs.field(factory=dict[str, int])
    """Also of models that are gone: their processes may be draining, and an edit may be undone."""


@attrs.define(eq=False)
class PortGiver:
    """Gives out ports: the one that a model had, else the lowest that none has."""

    _start: int
    _given: dict[str, int]
    _taken: set[int]
    _next: int

    @classmethod
    def from_(cls, start: int, before: Ports) -> PortGiver:
        """*start* is the lowest port; *before* is what the models had, if they had any."""
        given = dict(before.by_model) if before.start == start else {}
        return cls(start, given, set(given.values()), start)

    def port_of(self, model: str) -> int:
        """The port of *model*. New ones get theirs in the order of the calls."""
        if model not in self._given:
            while self._next in self._taken:
                self._next += 1
            self._given[model] = self._next
            self._taken.add(self._next)
        return self._given[model]

    def ports(self) -> Ports:
        return Ports(self._start, dict(self._given))
