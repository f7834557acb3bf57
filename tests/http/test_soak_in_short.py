"""A few seconds of what `make soak` does for half an hour."""

from __future__ import annotations

from pathlib import Path

from soak_server import Load, soak

SHORT = ("short", "right")


def test_a_server_comes_to_no_harm_under_mixed_traffic(tmp_path: Path) -> None:
    load = Load(members=6, pause=0.1, followers=1, reload_every=0.7)
    found = soak(tmp_path, seconds=3, seed=7, load=load, is_enough=lambda judge: judge.counts[SHORT] > 5)
    assert found.judge.faults == []
    assert found.judge.counts["at rest", "right"] > 15
    assert found.judge.counts[SHORT] > 5
