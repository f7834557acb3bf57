"""The text of the demo's configuration: one that works, and that a person can learn from and copy."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from ._models import CHAT, EMBEDDING

_HEAD = """\
# A configuration of swapcli, in the format of llama-swap. Try it, copy it, change it:
# a file that you changed is never overwritten by `swapcli demo`.
#
#   swapcli check {config}
#   swapcli serve --config {config}

# Seconds a model may take to start before it is given up.
healthCheckTimeout: 30

# ${{PORT}} below becomes a number of its own for each model, from this one on.
startPort: 18450

# Text to use again: ${{engine}} below is replaced by it. Any server that speaks the OpenAI API will do here,
# for example llama-server of llama.cpp, with the same flags.
macros:
  engine: |-
    {engine}

# One entry for each model; requests name it: {{"model": "{first}", ...}}. One model runs at a time.
# A request for another one waits until the requests of the running one have ended; then the two are swapped.
models:
"""

_CHAT_MODEL = """\
  {name}:
    name: {title}
    description: A tiny chat model that says its name
    # The command that serves the model. Lines are joined; no shell reads them, so there is no $HOME or |.
    cmd: |
      ${{engine}} --port ${{PORT}} --alias {name}
        --model {file}
"""

_EMBEDDING_MODEL = """\
  {name}:
    name: {title}
    description: A tiny embedding model
    # Where the model answers; without this line it is http://localhost:${{PORT}}.
    proxy: http://127.0.0.1:${{PORT}}
    # The model is ready once a GET of this path answers 200. /health is the default.
    checkEndpoint: /health
    # Other names for the same model.
    aliases: [text-embedding-tiny]
    cmd: |
      ${{engine}} --port ${{PORT}} --alias {name} --embeddings --pooling mean
        --model {file}
"""


def config_text(directory: Path, *, python: str, windows: bool = os.name == "nt") -> str:
    """The configuration of the demo whose models are in ``directory``.

    Args:
      python: the interpreter that runs the engine; ``swapcli`` itself need not be on the PATH.

    Raises:
      ValueError: a path holds ``${`` or a control character, which the format cannot express.
    """

    def word(path: str) -> str:
        if "${" in path or any(ord(character) < 32 for character in path):
            raise ValueError(f"this path cannot be written in a configuration: {path!r}")
        return f'"{path}"' if windows else shlex.quote(path)

    parts = [
        _HEAD.format(
            config=word(str(directory / "config.yaml")),
            engine=f"{word(python)} -m swapcli llama-server --threads 1 --temp 0",
            first=CHAT[0],
        )
    ]
    for name in (*CHAT, EMBEDDING):
        model = _EMBEDDING_MODEL if name == EMBEDDING else _CHAT_MODEL
        file = word(str(directory / f"{name}.gguf"))
        parts.append(model.format(name=name, title=name.capitalize(), file=file))
    return "\n".join(parts) + "\n"
