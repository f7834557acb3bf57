"""Who is whose child, as the kernel tells it; zombies among them unless it says otherwise."""

from __future__ import annotations

from swapcore._guardian import process, processes


def children_of(pid: int) -> list[int]:
    return [one.pid for one in processes() if one.parent == pid]


def parent_of(pid: int) -> int:
    found = process(pid)
    assert found is not None
    return found.parent


def is_alive(pid: int) -> bool:
    """It is there, and no zombie."""
    found = process(pid)
    return found is not None and found.alive
