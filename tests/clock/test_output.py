"""Whoever gets the output of all models gets all of it, and cannot disturb them."""

from __future__ import annotations

import logging

import attrs
import pytest
import trio
from trio.testing import MockClock

import swapcore
from swapcore import Endpoint, ModelId, ModelSpec

A, B, NEW = ModelId("a"), ModelId("b"), ModelId("new")


@attrs.frozen
class Talker:
    async def __call__(self, spec: ModelSpec, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        log = swapcore.current_log()
        log.write(f"{spec.id} loads\n".encode())
        await trio.sleep(1)
        log.write(f"{spec.id} is up\n".encode())
        task_status.started(Endpoint("http://127.0.0.1:1"))
        await trio.sleep_forever()


async def test_output_of_all_models_goes_to_one_place(autojump_clock: MockClock) -> None:
    heard: list[tuple[str, bytes]] = []
    async with swapcore.open_supervisor(
        [ModelSpec(A), ModelSpec(B)],
        launch=Talker(),
        on_output=lambda model, data: heard.append((model, data)),
    ) as supervisor:
        await supervisor.load(A)
        await supervisor.load(B)
        await supervisor.reconfigure([ModelSpec(B), ModelSpec(NEW)])
        await supervisor.load(NEW)
        assert supervisor.log(NEW).history() == b"new loads\nnew is up\n"
    assert heard == [
        (model, f"{model} {what}\n".encode()) for model in (A, B, NEW) for what in ("loads", "is up")
    ]


async def test_a_listener_that_fails_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(model: ModelId, data: bytes) -> None:
        raise RuntimeError("no")

    caplog.set_level(logging.ERROR, "swapcore")
    async with swapcore.open_supervisor([ModelSpec(A)], launch=Talker(), on_output=fail) as supervisor:
        await supervisor.load(A)
        assert supervisor.log(A).history() == b"a loads\na is up\n"
    assert "on_output failed for a" in caplog.text
