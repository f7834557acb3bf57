"""Which profile is active. One for the whole server; it outlives configurations."""

from __future__ import annotations

from collections.abc import Callable, Container

import attrs


@attrs.define(eq=False)
class ActiveProfile:
    """None is active until somebody selects one."""

    name: str | None = attrs.field(default=None, init=False)
    _subscribers: list[Callable[[str | None], object]] = attrs.field(
        factory=list[Callable[[str | None], object]], init=False
    )

    def subscribe(self, tell: Callable[[str | None], object]) -> None:
        """Call ``tell``, synchronously, with the name of each profile that becomes active."""
        self._subscribers.append(tell)

    def select(self, name: str | None) -> None:
        """Make a profile active, or none. Selecting it again tells nobody."""
        if name != self.name:
            self.name = name
            for tell in self._subscribers:
                tell(name)

    def keep_if_in(self, profiles: Container[str]) -> None:
        """Another configuration holds: a profile that it does not have is not active any more."""
        if self.name is not None and self.name not in profiles:
            self.select(None)
