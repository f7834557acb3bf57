"""Work on files, off the loop: a file system may take any time to answer, or never do so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from ._spec import ModelId

_T = TypeVar("_T")


def _by_model() -> defaultdict[ModelId, trio.CapacityLimiter]:
    return defaultdict(lambda: trio.CapacityLimiter(1))


@attrs.define(eq=False)
class OwnThreads:
    """One thread at a time for each model: files that do not answer hold up their model, and no other.

    Not the threads that all share: forty that hang, and nobody would find one.
    """

    _limiters: defaultdict[ModelId, trio.CapacityLimiter] = attrs.field(factory=_by_model, init=False)

    async def run(self, model: ModelId, work: Callable[[], _T]) -> _T:
        """Do *work* in *model*'s thread, once it is free, and return its result or raise its error.

        Cancellation: the thread is left to itself.
        """
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._limiters[model])
