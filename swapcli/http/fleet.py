"""What the HTTP side needs of the supervisor, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import Protocol

from swapcore import (
    Endpoint,
    ModelId,
    ModelLog,
    ModelSpec,
    ProcState,
    Statistics,
    UnknownModel,
    Waiting,
)


class Fleet(Protocol):
    """The part of `swapcore.Supervisor` that is used here; see there."""

    def lease(
        self,
        model: ModelId,
        *,
        priority: int = 0,
        give_up_after: float = inf,
        on_wait: Callable[[Waiting], None] | None = None,
    ) -> AbstractAsyncContextManager[Endpoint]: ...

    def callers(self, model: ModelId) -> int: ...

    def state_of(self, model: ModelId) -> ProcState: ...

    def log(self, model: ModelId) -> ModelLog: ...

    def heard(self, model: ModelId) -> None: ...

    async def load(self, model: ModelId) -> None: ...

    async def unload(self, *models: ModelId) -> None: ...

    def pin(self, model: ModelId) -> None: ...

    def unpin(self, model: ModelId) -> None: ...

    def statistics(self) -> Statistics: ...

    @property
    def specs(self) -> Mapping[ModelId, ModelSpec]: ...


def state_of(fleet: Fleet, model: ModelId) -> ProcState:
    """Return the state of a model that is configured where this is asked; the fleet may not know of it.

    While a configuration is being replaced, and for a request that began before that, the two differ.
    """
    try:
        return fleet.state_of(model)
    except UnknownModel:
        return ProcState.STOPPED
