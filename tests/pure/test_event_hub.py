"""What is published reaches every client whole and in order, or the client is told that it did not."""

from __future__ import annotations

import json

import pytest
import trio

from swapcli.http.event_hub import MOST_BYTES, MOST_FRAMES, EventHub, Missed
from swapcli.http.event_messages import (
    ActivityRecorded,
    ConfigReload,
    InflightRemove,
    InflightSnapshot,
    InflightUpsert,
    LogData,
    Message,
    ModelStatus,
    ProfileChanged,
    UiConfig,
    frame,
)


@pytest.mark.parametrize(
    ("message", "kind", "inner"),
    [
        (LogData("proxy", "a\n"), "logData", '{"data":"a\\n","source":"proxy"}'),
        (LogData("upstream", ""), "logData", '{"data":"","source":"upstream"}'),
        (ModelStatus([{"id": "m"}]), "modelStatus", '[{"id":"m"}]'),
        (UiConfig(()), "uiConfig", '{"activity":{"session_id":[]}}'),
        (UiConfig(("X-S",)), "uiConfig", '{"activity":{"session_id":["X-S"]}}'),
        (ProfileChanged(None), "profileChanged", '{"active":null}'),
        (ProfileChanged("p"), "profileChanged", '{"active":"p"}'),
        (InflightSnapshot([]), "inflight", '{"operation":"snapshot"}'),
        (InflightSnapshot([{"id": "1"}]), "inflight", '{"operation":"snapshot","requests":[{"id":"1"}]}'),
        (InflightUpsert({"id": "1"}), "inflight", '{"operation":"upsert","request":{"id":"1"}}'),
        (InflightRemove("1"), "inflight", '{"operation":"remove","id":"1"}'),
        (ActivityRecorded(7), "activity", '{"id":7}'),
        (ConfigReload({"ok": True}), "configReload", '{"ok":true}'),
    ],
)
def test_h206_h208_frames(message: Message, kind: str, inner: str) -> None:
    text = frame(message)
    assert text.startswith(b"event:message\ndata:{")
    assert text.endswith(b"}\n\n")
    assert text.count(b"\n") == 3
    assert json.loads(text[len("event:message\ndata:") :]) == {"type": kind, "data": inner}


async def test_every_client_gets_every_message_in_order() -> None:
    hub = EventHub()
    assert not hub.clients
    hub.publish(ActivityRecorded(0))
    with hub.subscribe() as first, hub.subscribe() as second:
        assert hub.clients
        hub.publish(ActivityRecorded(1))
        hub.publish(ProfileChanged("p"))
        expected = frame(ActivityRecorded(1)) + frame(ProfileChanged("p"))
        with trio.fail_after(1):
            assert await anext(first) == expected
            assert await anext(second) == expected
        hub.publish(ActivityRecorded(2))
        with trio.fail_after(1):
            assert await anext(first) == frame(ActivityRecorded(2))
    assert not hub.clients


@pytest.mark.parametrize("text", ["one\ntwo\n", "x" * (MOST_BYTES // 100) + "\n\n"])
async def test_h211_a_slow_client_is_told_how_many_lines_it_missed(text: str) -> None:
    hub = EventHub()
    with hub.subscribe() as slow:
        for number in range(MOST_FRAMES):
            hub.publish(ActivityRecorded(number))
            hub.publish(LogData("upstream", text))
        hub.publish(LogData("proxy", "one\n"))
        with trio.fail_after(1):
            missed = await anext(slow)
        assert missed == Missed({"upstream": 2 * MOST_FRAMES, "proxy": 1}, MOST_FRAMES - 1)
        hub.publish(ProfileChanged("later"))
        with trio.fail_after(1):
            assert await anext(slow) == frame(ProfileChanged("later")), "and goes on as before"


async def test_one_message_may_be_larger_than_what_is_held() -> None:
    hub = EventHub()
    message = LogData("proxy", "x" * MOST_BYTES)
    with hub.subscribe() as client:
        hub.publish(message)
        with trio.fail_after(1):
            assert await anext(client) == frame(message)


async def test_a_cancelled_client_loses_nothing() -> None:
    hub = EventHub()
    with hub.subscribe() as client:
        with trio.CancelScope() as scope:
            scope.cancel()
            hub.publish(ActivityRecorded(1))
            await anext(client)
        assert scope.cancelled_caught
        with trio.fail_after(1):
            assert await anext(client) == frame(ActivityRecorded(1))
