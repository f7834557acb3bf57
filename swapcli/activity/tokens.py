"""What a request used, read from the figures that engines put into their answers. Pure.

Three shapes: the ``usage`` objects of OpenAI's and Anthropic's APIs, llama.cpp's ``timings``
(https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md), and vLLM's ``metrics``.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

UNKNOWN = -1
"""Other figures of the answer are known, this one is not."""
_MOST = 2**63 - 1
"""What a database column holds; no engine counts so far."""

Object: TypeAlias = Mapping[str, Any]


class Tokens(msgspec.Struct, frozen=True):
    """Counts of tokens, and tokens per second. All are 0 where the answer held no figures at all."""

    cache: int = 0
    """Of the input, from the engine's cache."""
    draft: int = 0
    draft_accepted: int = 0
    input: int = 0
    output: int = 0
    prompt_per_second: float = 0.0
    per_second: float = 0.0


class UsageFigures(msgspec.Struct):
    """Collects what an answer says, in one piece or event by event; `tokens` sums it up."""

    _input: int = 0
    _output: int = 0
    _cache: int = UNKNOWN
    _timings: Object | None = None
    _metrics: Object | None = None
    found: bool = False
    """There was something to read."""

    def add_usage(self, usage: object) -> None:
        """Of several objects in a stream the last positive counts are true; a zero says nothing yet."""
        if not isinstance(usage, dict):
            return
        self.found = True
        counts = _first_int(usage, "prompt_tokens", "input_tokens")
        self._input = counts if counts > 0 else self._input
        counts = _first_int(usage, "completion_tokens", "output_tokens")
        self._output = counts if counts > 0 else self._output
        cached = _cached(usage)
        self._cache = cached if cached >= 0 else self._cache

    def add_timings(self, timings: object) -> None:
        """The last ones count."""
        if isinstance(timings, dict):
            self.found, self._timings = True, timings

    def add_metrics(self, metrics: object) -> None:
        """The last ones count."""
        if isinstance(metrics, dict):
            self.found, self._metrics = True, metrics

    @property
    def tokens(self) -> Tokens:
        """All of it together: timings are measured, so they win over usage, and metrics over both."""
        if not self.found:
            return Tokens()
        tokens = Tokens(self._cache, UNKNOWN, UNKNOWN, self._input, self._output, UNKNOWN, UNKNOWN)
        if self._timings is not None:
            tokens = _with_timings(tokens, self._timings)
        if self._metrics is not None:
            tokens = _with_metrics(tokens, self._metrics)
        return tokens

    @property
    def busy_ms(self) -> int:
        """What the engine worked on it, as its timings say; 0 when they do not."""
        if self._timings is None:
            return 0
        return _int(_number(self._timings.get("prompt_ms")) + _number(self._timings.get("predicted_ms")))


def _with_timings(tokens: Tokens, timings: Object) -> Tokens:
    tokens = replace(
        tokens,
        input=_int(timings.get("prompt_n")),
        output=_int(timings.get("predicted_n")),
        prompt_per_second=_number(timings.get("prompt_per_second")),
        per_second=_number(timings.get("predicted_per_second")),
    )
    if "cache_n" in timings:
        tokens = replace(tokens, cache=_int(timings["cache_n"]))
    if "draft_n" in timings and "draft_n_accepted" in timings:
        drafted, accepted = _int(timings["draft_n"]), _int(timings["draft_n_accepted"])
        tokens = replace(tokens, draft=drafted, draft_accepted=accepted)
    return tokens


def _with_metrics(tokens: Tokens, metrics: Object) -> Tokens:
    speculative = metrics.get("speculative_decoding")
    if isinstance(speculative, dict):
        drafted = speculative.get("num_draft_tokens")
        accepted = speculative.get("num_accepted_draft_tokens")
        if drafted is not None and accepted is not None:
            tokens = replace(tokens, draft=_int(drafted), draft_accepted=_int(accepted))
    if (first_token_ms := _number(metrics.get("time_to_first_token_ms"))) > 0:
        computed = max(tokens.input - max(tokens.cache, 0), 0)
        tokens = replace(tokens, prompt_per_second=_finite(computed / first_token_ms * 1000))
    if (between_tokens_ms := _number(metrics.get("mean_itl_ms"))) > 0:
        tokens = replace(tokens, per_second=_finite(1 / between_tokens_ms * 1000))
    return tokens


def _first_int(figures: Object, *names: str) -> int:
    """The first name that is there counts, whatever its value."""
    return next((_int(figures[name]) for name in names if name in figures), 0)


def _cached(usage: Object) -> int:
    if "cache_read_input_tokens" in usage:
        return _int(usage["cache_read_input_tokens"])
    for name in ("input_tokens_details", "prompt_tokens_details"):
        details = usage.get(name)
        if isinstance(details, dict) and "cached_tokens" in details:
            return _int(details["cached_tokens"])
    return UNKNOWN


def _int(value: object) -> int:
    if isinstance(value, int):
        return max(-_MOST, min(int(value), _MOST))
    return int(max(-(2.0**62), min(_number(value), 2.0**62)))


def _number(value: object) -> float:
    """Numbers, and strings that are numbers; anything else is 0."""
    if not isinstance(value, int | float | str):
        return 0.0
    try:
        return _finite(float(value))
    except (ValueError, OverflowError):
        return 0.0


def _finite(value: float) -> float:
    return value if isfinite(value) else 0.0
