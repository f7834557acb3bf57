"""What a running server answers to the commands, as far as they look at it."""

from __future__ import annotations

from typing import TypedDict


class FleetModel(TypedDict):
    """A model of ``GET /api/fleet``."""

    id: str
    state: str
    seconds_in_state: float | None
    leases: int
    waiting: int
    pinned: bool
    memory_bytes: int | None
    load_seconds: float | None
    requests: int
    starts: int
    crashes: int


class FleetSwap(TypedDict):
    """A swap of ``GET /api/fleet``."""

    seconds_ago: float
    target: str
    evicted: list[str]
    reason: str
    stop_seconds: float | None
    load_seconds: float | None
    error: str | None


class Fleet(TypedDict):
    """``GET /api/fleet``."""

    models: list[FleetModel]
    leases: int
    waiting: int
    swaps: list[FleetSwap]


class Done(TypedDict):
    """What was asked for is done; where llama-swap says ``OK``, that is said instead."""

    msg: str


class ConfigurationProblem(TypedDict):
    """Something about the configuration, at its place."""

    file: str
    line: int
    column: int
    path: str
    message: str


class Reloaded(TypedDict):
    """``POST /api/reload``."""

    summary: str
    warnings: list[ConfigurationProblem]


class ErrorMessage(TypedDict):
    message: str


class Error(TypedDict):
    """An answer with a status of 400 or more."""

    src: str
    error: ErrorMessage


class NotReloaded(TypedDict):
    """What a refusal of ``POST /api/reload`` has besides."""

    problems: list[ConfigurationProblem]
