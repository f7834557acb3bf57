"""What a person who waits for a model is told meanwhile. Pure: times go in, texts come out."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from random import Random

import attrs

RULE = "━━━━━"
_REMARKS = (
    "Waking it up gently.",
    "Putting the kettle on.",
    "Reading the weights, skipping none.",
    "Good answers begin with a good stretch.",
    "Counting parameters. There are many.",
    "Somebody left it in the other memory.",
    "Warming up the tensors.",
    "Still faster than the library.",
    "Moving in, box by box.",
    "It says it is on its way.",
    "Sharpening the attention.",
    "Your question is worth it.",
)
_REMARK_EVERY = (5, 9)
"""Seconds between two of them, at least and at most."""


@attrs.define(eq=False)
class LoadingWords:
    """About one wait for one model. Each text is a list of pieces, which are shown one after the other."""

    model: str
    _random: Random = attrs.field(factory=Random)
    _remarks: list[str] = attrs.field(factory=list[str], init=False)
    _next_remark: float = attrs.field(default=0.0, init=False)
    _position: int | None = attrs.field(default=None, init=False)
    _has_estimate: bool = attrs.field(default=False, init=False)

    def opening(self) -> Sequence[str]:
        return RULE, "\n", f"swapcli loading model: {self.model}", "\n"

    def progress(self, elapsed: float, position: int | None, estimate: float | None) -> Sequence[str]:
        """Return what is new: a place in line, else a remark now and then, else a sign of life.

        Args:
          elapsed: seconds since the wait began.
          position: 1 is next; ``None``: not in line any more.
          estimate: seconds still to wait, where that is known.
        """
        is_known = estimate is not None
        if position is not None and (position != self._position or is_known > self._has_estimate):
            self._position, self._has_estimate = position, is_known
            text = f"Queue position: #{position}"
            if estimate is not None:
                text += f", ready in about {_roughly(estimate)}"
        elif elapsed >= self._next_remark:
            text = self._remark()
        else:
            return (".",)
        self._next_remark = elapsed + self._random.randint(*_REMARK_EVERY)
        return "\n", text, " "

    def ending(self, elapsed: float, *, is_ready: bool) -> Sequence[str]:
        word = "Done!" if is_ready else "Failed!"
        return "\n", f"{word} ({elapsed:.2f}s)", "\n", RULE, "\n", " ", "\n"

    def _remark(self) -> str:
        if not self._remarks:
            self._remarks = self._random.sample(_REMARKS, len(_REMARKS))
        return self._remarks.pop()


def _roughly(seconds: float) -> str:
    whole = max(1, ceil(seconds))
    return f"{whole} s" if whole < 100 else f"{ceil(whole / 60)} min"
