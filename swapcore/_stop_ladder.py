"""How one run is ended: asked, asked again, killed with its whole tree, and confirmed to be gone."""

from __future__ import annotations

import logging
import signal

import trio

from ._guardian_protocol import Guard, Guarded
from ._spec import ModelSpec

logger = logging.getLogger("swapcore")

# Once the tree is gone nobody writes any more; what is in the pipe is read, unless someone outside holds it.
_DRAIN_BOUND = 0.1


def has_ended(run: Guarded) -> bool:
    return run.ended


async def stop(spec: ModelSpec, guard: Guard) -> None:
    """The ladder: ask; ask again at half the grace, or once asking has failed; kill at its end; confirm.

    Runs after every run, however it ended: also what a dead leader has left behind must go.
    """
    run = guard.run
    with trio.move_on_after(spec.unload_timeout):
        if run.pid is not None:
            await _ask_to_stop(spec, guard)
        if run.ended:  # a stop command may still clean up
            await run.wait(lambda run: run.gone)
    if not run.gone:
        await guard.kill()
        await run.wait(lambda run: run.gone)
    with trio.move_on_after(_DRAIN_BOUND):
        await run.wait(lambda run: run.output_ended)


async def _ask_to_stop(spec: ModelSpec, guard: Guard) -> None:
    run = guard.run
    if run.ended:
        return
    with trio.move_on_after(spec.unload_timeout / 2):
        if spec.stop_command:
            await guard.run_stop_command()
            await run.wait(lambda run: run.ended or run.stop_status not in (None, 0))
            if not run.ended:
                logger.warning("%s: its stop command failed with status %s", spec.id, run.stop_status)
                await guard.signal(signal.SIGTERM)
        else:
            await guard.signal(spec.stop_signal)
        await run.wait(has_ended)
    if not run.ended:
        # Some servers (llama-server with a request in flight) end only on a second SIGTERM.
        await guard.signal(signal.SIGTERM)
        await run.wait(has_ended)
