"""How fast a configuration loads, against ruamel.yaml alone."""

from __future__ import annotations

import time
from collections.abc import Callable

from ruamel.yaml import YAML

from swapcli.config import Source, load_sources

_MODEL = """\
  model-{n}:
    cmd: |
      ${{server}}
      --model /models/{n}.gguf -ngl 99
    aliases: [alias-{n}, other-{n}]
    ttl: 300
    checkEndpoint: /health
    env:
      - CUDA_VISIBLE_DEVICES=0
    metadata:
      size: 7
      family: qwen
    filters:
      stripParams: temperature, top_p
"""


def sample(models: int) -> str:
    """The text of a configuration with so many models, each with a dozen keys and a macro."""
    head = "macros:\n  server: llama-server --port ${PORT}\nmodels:\n"
    return head + "".join(_MODEL.format(n=n) for n in range(models))


def measure_load(models: int = 1000, rounds: int = 3) -> tuple[float, float]:
    """Seconds to load such a configuration, and seconds that ruamel.yaml's ``compose`` of it takes.

    Both are of the processor's time, the best of *rounds*, taken in turn so that a busy machine slows both.
    """
    text = sample(models)
    load_sources([Source("sample.yaml", sample(1))], environ={})  # what is made once, is made now
    loads, composes = [], []
    for _ in range(rounds):
        loads.append(_seconds(lambda: load_sources([Source("sample.yaml", text)], environ={})))
        composes.append(_seconds(lambda: YAML(typ="safe", pure=True).compose(text)))
    return min(loads), min(composes)


def _seconds(action: Callable[[], object]) -> float:
    start = time.process_time()  # of this process only: what else the machine does is not counted
    action()
    return time.process_time() - start
