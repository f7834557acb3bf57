"""Keys at the top of the file that stand for themselves: values that no type can rule out. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from ._duration import parse_duration
from ._path_pattern import pattern_fault
from ._problem import Finding, warning
from ._routing import Fifo
from ._top_level import DEFAULT_IGNORE_PATHS, ActivityView, Configuration, Performance, Ui, Upstream
from ._words import LOG_LEVELS, LOG_TIME_FORMATS, LOG_TO_STDOUT

LEAST_HEALTH_CHECK_TIMEOUT = 15
DEFAULT_UNLOAD_TIMEOUT = 10
LEAST_PERFORMANCE_PERIOD = 5.0


def check_top(config: Configuration) -> Iterator[Finding]:
    """What is wrong with the top-level values of *config*, which is as structured."""
    yield from _performance(config.performance)
    if config.global_ttl < 0:
        yield Finding(("globalTTL",), f"must not be negative: {config.global_ttl}")
    if config.unload_timeout < 0:
        yield Finding(("unloadTimeout",), f"must not be negative: {config.unload_timeout}")
    if config.store is not None and not config.store.path.strip():
        yield Finding(("store", "path"), "must name a file")
    if config.store is not None:
        for key, value in (("maxRecords", config.store.max_records), ("maxDays", config.store.max_days)):
            if value < 0:
                yield Finding(("store", key), f"must not be negative: {value}")
    if config.log_to_stdout not in LOG_TO_STDOUT:
        expected = ", ".join(LOG_TO_STDOUT)
        yield Finding(("logToStdout",), f"must be one of {expected}, not {config.log_to_stdout!r}")
    if config.log_level.strip().lower() not in LOG_LEVELS:
        yield warning(("logLevel",), f"unknown level {config.log_level!r}; info is used")
    if config.log_time_format.strip() and config.log_time_format.strip().lower() not in LOG_TIME_FORMATS:
        yield warning(("logTimeFormat",), f"unknown format {config.log_time_format!r}; no time is shown")
    if config.health_check_timeout < LEAST_HEALTH_CHECK_TIMEOUT:
        yield warning(("healthCheckTimeout",), f"less than {LEAST_HEALTH_CHECK_TIMEOUT} counts as that")
    for at, pattern in enumerate(config.upstream.ignore_paths):
        if fault := pattern_fault(pattern):
            yield Finding(("upstream", "ignorePaths", at), f"{pattern!r}: {fault}")
    yield from _fifo(config.routing.scheduler.settings.fifo)


def _performance(performance: Performance) -> Iterator[Finding]:
    try:
        seconds = parse_duration(performance.every)
    except ValueError as error:
        yield Finding(("performance", "every"), str(error))
        return
    if seconds and seconds < LEAST_PERFORMANCE_PERIOD:
        yield Finding(("performance", "every"), f"must be at least 5s, not {performance.every}")


def _fifo(fifo: Fifo) -> Iterator[Finding]:
    path = ("routing", "scheduler", "settings", "fifo")
    for key, value in (
        ("maxWait", fifo.max_wait),
        ("leeway", fifo.leeway),
        ("minResidency", fifo.min_residency),
        ("maxDrain", fifo.max_drain),
    ):
        if value < 0:
            yield Finding((*path, key), f"must not be negative: {value}")


def check_api_keys(config: Configuration) -> Iterator[Finding]:
    """What is wrong with ``apiKeys``. The keys themselves are in no message."""
    for at, key in enumerate(config.api_keys):
        if not key:
            yield Finding(("apiKeys", at), "must not be empty")
        elif " " in key:
            yield Finding(("apiKeys", at), "must not contain spaces")
    for at, key in enumerate(config.routing.scheduler.settings.fifo.priority_keys):
        if key not in config.api_keys:
            where = ("routing", "scheduler", "settings", "fifo", "priorityKeys", at)
            yield warning(where, "this is none of apiKeys, so nobody can use it")


def with_top_defaults(config: Configuration) -> Configuration:
    """*config* with the top-level values that stand for another one replaced."""
    try:
        every = parse_duration(config.performance.every) or LEAST_PERFORMANCE_PERIOD
    except ValueError:
        every = LEAST_PERFORMANCE_PERIOD  # reported by the check
    return attrs.evolve(
        config,
        health_check_timeout=max(config.health_check_timeout, LEAST_HEALTH_CHECK_TIMEOUT),
        unload_timeout=config.unload_timeout or DEFAULT_UNLOAD_TIMEOUT,
        performance=Performance(config.performance.disabled, config.performance.every, every_seconds=every),
        upstream=Upstream(config.upstream.ignore_paths or DEFAULT_IGNORE_PATHS),
        ui=Ui(ActivityView(_headers(config.ui.activity.session_id))),
    )


def _headers(names: tuple[str, ...]) -> tuple[str, ...]:
    """Trimmed, without blanks and without repeats, whose case does not matter."""
    unique: dict[str, str] = {}
    for name in names:
        if trimmed := name.strip():
            unique.setdefault(trimmed.lower(), trimmed)
    return tuple(unique.values())
