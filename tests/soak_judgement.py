"""What the soak counts, and what it calls a fault: answers, and figures that must not grow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from math import inf
from statistics import median

import attrs
import trio

EVERYONE = "*"
RIGHT, CUT = "right", "cut"
"""Words for what became of a request, besides the codes of errors."""
_REMEMBERED = 180.0
"""Seconds; no request takes that long."""
MOST_FAULTS = 20


@attrs.define(eq=False)
class _Deed:
    model: str
    allowed: frozenset[str]
    began: float
    ended: float = inf


@attrs.define(eq=False)
class Mischief:
    """What was done to which model, and what its callers may get for that."""

    _deeds: list[_Deed] = attrs.field(factory=list[_Deed], init=False)

    @contextmanager
    def doing(self, model: str, *allowed: str, aftermath: float = 3.0) -> Generator[None]:
        """Let callers of *model* get one of these, in the block and for *aftermath* seconds more."""
        now = trio.current_time()
        self._deeds = [deed for deed in self._deeds if deed.ended > now - _REMEMBERED]
        deed = _Deed(model, frozenset(allowed), now)
        self._deeds.append(deed)
        try:
            yield
        finally:
            deed.ended = trio.current_time() + aftermath

    def allowed(self, models: Iterable[str], since: float) -> frozenset[str]:
        """Return what a request to one of *models* that began at *since* and ends now may get."""
        harmed = {*models, EVERYONE}
        return frozenset(
            word
            for deed in self._deeds
            if deed.model in harmed and deed.ended >= since
            for word in deed.allowed
        )


class TooManyFaults(Exception):
    """There is no use in going on."""


@attrs.define(eq=False)
class Judge:
    """Counts what became of each request, and collects what must not have happened."""

    mischief: Mischief = attrs.field(factory=Mischief, init=False)
    counts: Counter[tuple[str, str]] = attrs.field(factory=Counter[tuple[str, str]], init=False)
    """By kind of request and outcome."""
    faults: list[str] = attrs.field(factory=list[str], init=False)
    cancelled: set[str] = attrs.field(factory=set[str], init=False)
    """Requests that somebody called off, by the id that they carry."""
    started: float = attrs.field(factory=trio.current_time, init=False)

    def ended(
        self,
        kind: str,
        models: Iterable[str],
        outcome: str,
        *,
        since: float,
        expected: Iterable[str] = (RIGHT,),
        detail: str = "",
    ) -> None:
        """A request to one of *models* has ended.

        Args:
          since: when it began, on the trio clock.
          expected: how it has to end, unless somebody harmed the model.
        """
        self.counts[kind, outcome] += 1
        allowed = frozenset(expected) | self.mischief.allowed(models, since)
        if outcome not in allowed:
            seconds = trio.current_time() - since
            self.fault(
                f"{kind} to {'/'.join(models)}: {outcome} after {seconds:.1f} s, "
                f"not one of {sorted(allowed)}; {detail}"
            )

    def count(self, kind: str, outcome: str = RIGHT) -> None:
        """Something happened as it should."""
        self.counts[kind, outcome] += 1

    def fault(self, what: str) -> None:
        """Something happened that must not. Raises `TooManyFaults`."""
        text = f"{trio.current_time() - self.started:6.1f} s: {what}"
        print(f"FAULT {text}", flush=True)
        self.faults.append(text)
        if len(self.faults) >= MOST_FAULTS:
            raise TooManyFaults

    def table(self) -> str:
        """Return a line for each kind."""
        kinds: dict[str, list[str]] = {}
        for (kind, outcome), count in sorted(self.counts.items()):
            kinds.setdefault(kind, []).append(f"{count} {outcome}")
        return "\n".join(f"  {kind:18} {', '.join(outcomes)}" for kind, outcomes in kinds.items())


@attrs.frozen
class Sample:
    """The server's process at one moment."""

    at: float
    """Seconds since the start of the soak."""
    resident: int
    """Bytes."""
    descriptors: int
    threads: int
    children: int
    """With their children."""

    def __str__(self) -> str:
        return (
            f"{self.resident / 2**20:.1f} MiB, {self.descriptors} descriptors, {self.threads} threads, "
            f"{self.children} children"
        )


def growth(samples: Sequence[Sample], *, since: float) -> float | None:
    """Return by what part resident memory grew from *since* on; None when there are too few samples to tell.

    The medians of the first and of the last tenth are compared, so that one odd sample means nothing.
    """
    judged = [sample.resident for sample in samples if sample.at >= since]
    tenth = len(judged) // 10
    if tenth < 3:
        return None
    return median(judged[-tenth:]) / median(judged[:tenth]) - 1
