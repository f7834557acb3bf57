"""What reading a configuration costs beyond parsing its YAML."""

from __future__ import annotations

import sys
from pathlib import Path

from table import Row

sys.path.insert(0, str(Path(__file__).parents[1]))
from load_speed import measure_load


def measure() -> list[Row]:
    load, compose = measure_load()
    return [Row(what="load of 1,000 models / ruamel's compose of them", value=load / compose, at_most=1.5)]
