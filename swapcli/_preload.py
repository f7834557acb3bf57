"""Loading models before anybody asks for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from swapcore import Closed, ModelId, SwapcoreError

logger = logging.getLogger("swapcli")


class Fleet(Protocol):
    """The part of `swapcore.Supervisor` that is used here; see there."""

    async def load(self, model: ModelId) -> None: ...


async def preload(
    fleet: Fleet,
    models: Sequence[ModelId],
    *,
    done: Callable[[ModelId, bool], None] = lambda model, is_ready: None,
) -> None:
    """Load *models*: at the same time if they may run together, else the earlier first.

    What cannot be loaded is logged; it keeps nothing else from being loaded.

    Args:
      done: called for each model, with whether it became ready.
    Cancellation: whatever is being loaded goes on only if somebody else wants it.
    """
    if not models:
        return
    logger.info("preloading %s", ", ".join(models))
    async with trio.open_nursery() as nursery:

        async def load(model: ModelId, *, task_status: trio.TaskStatus[None]) -> None:
            started = trio.current_time()
            task_status.started()  # the next one comes behind this one, which lines up before it first waits
            try:
                await fleet.load(model)
            except Closed:
                return
            except SwapcoreError as error:
                logger.warning("cannot preload: %s", error)
                done(model, False)
            else:
                logger.info("preloaded %s in %.1f s", model, trio.current_time() - started)
                done(model, True)

        for model in models:
            await nursery.start(load, model)
