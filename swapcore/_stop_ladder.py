"""How one run is ended: asked, asked again, killed with its whole tree, and confirmed to be gone."""

from __future__ import annotations

import logging
import signal
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio

from ._guardian_protocol import Guard, Guarded
from ._health import addresses_of
from ._preflight import is_port_taken
from ._spec import Endpoint, ModelSpec

logger = logging.getLogger("swapcore")

ConfirmGone: TypeAlias = Callable[[ModelSpec], Awaitable[None]]

# After the grace: how long killing may take before it is reported instead of waited for.
_KILL_BOUND = 5.0

# Once the tree is gone nobody writes any more; what is in the pipe is read, unless someone outside holds it.
_DRAIN_BOUND = 0.1

_CONNECT_BOUND = 1.0


def has_ended(run: Guarded) -> bool:
    return run.ended


async def end(
    spec: ModelSpec, guard: Guard, endpoint: Endpoint | None, confirm_gone: ConfirmGone | None = None
) -> str | None:
    """End a run, which may have ended by itself: also what a dead leader has left behind must go.

    Args:
      confirm_gone: gone means that this has returned, too.
      endpoint: and that nobody answers here: a process can escape where no guard sees it.
    Returns:
      ``None`` once it is gone; or what is left of it 5 s after its grace, in words.
    Cancellation: waits for it.
    """
    left = "it is not confirmed that nothing of it is left"
    with trio.move_on_after(spec.unload_timeout + _KILL_BOUND, shield=True):
        await _climb(spec, guard)
        if confirm_gone is not None:
            await confirm_gone(spec)
        if endpoint is not None:
            left = f"something answers at port {endpoint.port} of {endpoint.host}"
            await _wait_unanswered(endpoint)
        return None
    if guard.run.gone:
        return f"its processes are gone, and {left}"
    return f"still alive after SIGKILL: processes {guard.survivors()}"


async def wait_gone(
    spec: ModelSpec, guard: Guard, endpoint: Endpoint, confirm_gone: ConfirmGone | None = None
) -> None:
    """Block until what `end` could not end has gone by itself. Cancellation: it is left to itself."""
    await guard.wait_gone()
    if confirm_gone is not None:
        await confirm_gone(spec)
    await _wait_unanswered(endpoint)


async def _climb(spec: ModelSpec, guard: Guard) -> None:
    """Ask; ask again at half the grace, or once asking has failed; kill at its end; wait until it is gone."""
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


async def _wait_unanswered(endpoint: Endpoint) -> None:
    pause = 0.001
    # Binding tells in no time that it is free. If not, it may be a connection of somebody else's that has it.
    while is_port_taken(endpoint) and await _is_answered(endpoint):
        await trio.sleep(pause)
        pause = min(2 * pause, 0.5)


async def _is_answered(endpoint: Endpoint) -> bool:
    for host in addresses_of(endpoint):
        with trio.move_on_after(_CONNECT_BOUND) as patience:
            try:
                stream = await trio.open_tcp_stream(host, endpoint.port)
            except OSError:
                continue
            await trio.aclose_forcefully(stream)
            return True
        if patience.cancelled_caught:
            return True  # somebody listens, and is too busy to say so
    return False
