"""Loading costs little more than parsing."""

from __future__ import annotations

import cProfile
import pstats

from load_speed import measure_load, sample

from swapcli.config import Source, load_sources


def test_loading_many_models_takes_at_most_half_as_long_again_as_parsing() -> None:
    load, parse = measure_load(models=300, rounds=3)
    assert load <= 1.5 * parse


def test_a_text_is_parsed_once() -> None:
    profile = cProfile.Profile()
    profile.enable()
    load_sources([Source("c.yaml", sample(3) + "# ${env.PATH}\n")], environ={"PATH": "x"})
    profile.disable()
    assert pstats.Stats(profile).get_stats_profile().func_profiles["_compose"].ncalls == "1"
