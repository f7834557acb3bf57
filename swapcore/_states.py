"""The process state machine: every state, event and transition is in this file.

Nothing here does I/O, sleeps or imports trio. A pair missing from TRANSITIONS
is a programming error, never a runtime condition.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import attrs

from ._spec import Endpoint


class ProcState(enum.Enum):
    """Where a model's process is in its life. Values are the wire names of the HTTP API."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


@attrs.frozen
class StartRequested: ...


@attrs.frozen
class BecameReady:
    endpoint: Endpoint


@attrs.frozen
class StopRequested:
    reason: str


@attrs.frozen
class Exited:
    error: Exception | None
    """Why it ended by itself; ``None`` after a stop that was asked for, or a clean exit."""


ProcEvent: TypeAlias = StartRequested | BecameReady | StopRequested | Exited

_S = ProcState
TRANSITIONS: Mapping[ProcState, Mapping[type[ProcEvent], ProcState]] = MappingProxyType(
    {
        _S.STOPPED: {StartRequested: _S.STARTING},
        _S.STARTING: {BecameReady: _S.READY, StopRequested: _S.STOPPING, Exited: _S.STOPPED},
        _S.READY: {StopRequested: _S.STOPPING, Exited: _S.STOPPED},
        # BecameReady: readiness and a stop can cross in the mailbox.
        _S.STOPPING: {StopRequested: _S.STOPPING, BecameReady: _S.STOPPING, Exited: _S.STOPPED},
    }
)


class IllegalTransition(AssertionError):
    """An event arrived in a state whose row has no entry for it."""


def next_state(state: ProcState, event: ProcEvent) -> ProcState:
    """Return the state after *event*.

    Raises:
      IllegalTransition: no such edge; the caller's state is left untouched.
    """
    try:
        return TRANSITIONS[state][type(event)]
    except KeyError:
        raise IllegalTransition(f"{type(event).__name__} in {state.name}") from None
