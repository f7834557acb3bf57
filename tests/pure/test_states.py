"""The state machine, from its table."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from swapcore import Endpoint, ProcState
from swapcore._states import (
    TRANSITIONS,
    BecameReady,
    Exited,
    IllegalTransition,
    ProcEvent,
    StartRequested,
    StopRequested,
    next_state,
)

EVENTS: list[ProcEvent] = [
    StartRequested(),
    BecameReady(Endpoint("http://h:1")),
    StopRequested("r"),
    Exited(None),
]


@pytest.mark.rule("L3")
def test_the_states_by_their_names_on_the_wire() -> None:
    """llama-swap has a fifth, shutdown, which nobody could see: the server is gone by then."""
    assert [state.value for state in ProcState] == ["stopped", "starting", "ready", "stopping"]


@pytest.mark.rule("L4")
def test_the_changes_of_state_that_there_are_and_no_other() -> None:
    """llama-swap's, but that a start which is called off is stopping before it has stopped."""
    changes = {(state.value, to.value) for state, row in TRANSITIONS.items() for to in row.values()}
    assert changes - {("stopping", "stopping")} == {
        ("stopped", "starting"),
        ("starting", "ready"),
        ("starting", "stopping"),
        ("starting", "stopped"),
        ("ready", "stopping"),
        ("ready", "stopped"),
        ("stopping", "stopped"),
    }


def test_every_state_has_a_row_and_is_reachable() -> None:
    assert set(TRANSITIONS) == set(ProcState)
    assert {state for row in TRANSITIONS.values() for state in row.values()} == set(ProcState)


@pytest.mark.parametrize("state", ProcState)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_a_missing_edge_raises_and_every_other_follows_the_table(state: ProcState, event: ProcEvent) -> None:
    expected = TRANSITIONS[state].get(type(event))
    if expected is None:
        with pytest.raises(IllegalTransition, match=state.name):
            next_state(state, event)
    else:
        assert next_state(state, event) is expected


@given(st.lists(st.sampled_from(EVENTS)))
def test_exit_always_leads_home(events: list[ProcEvent]) -> None:
    state = ProcState.STOPPED
    for event in events:
        try:
            state = next_state(state, event)
        except IllegalTransition:
            continue
        if isinstance(event, Exited):
            assert state is ProcState.STOPPED
