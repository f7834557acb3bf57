"""Python's collector of reference cycles, told how this program uses memory."""

from __future__ import annotations

import gc

_YOUNG = 10_000
"""Objects that are made, and not yet gone, before the collector looks at them; Python's own limit is 700."""


def collect_less_often() -> None:
    """Let the collector look at young objects a tenth as often.

    A request leaves no cycles behind, so each look is in vain. But dozens of requests at once hold more than
    700 objects all the time, which made Python look so often that a sixth of the server's time went there.
    Much of an import is objects that stay, too.
    """
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])


def keep_what_is_there() -> None:
    """Never look at what exists now again: the program itself, which is most of what there is."""
    gc.freeze()


def collect_what_was_replaced() -> None:
    """Look for cycles everywhere but in what is kept. Takes a few milliseconds.

    An application of the web framework is one great cycle, and a reload leaves one behind. By itself the
    collector would come to it after hours, and by then the memory around it is in pieces.
    """
    gc.collect()
