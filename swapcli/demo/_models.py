"""The three models of the demo, and how a file tells that it was made from exactly this."""

from __future__ import annotations

import hashlib
from pathlib import Path

import attrs

from .tiny_gguf import TinyModel, write_tiny_gguf

GENERATION = 1
"""Raise it when `write_tiny_gguf` writes other bytes for the same model: older files are replaced."""

CHAT = ("alpha", "beta")
EMBEDDING = "gamma"

_HEAD = 4096  # the description is among the first entries of the metadata


def _signed(model: TinyModel) -> TinyModel:
    recipe = f"{GENERATION} {model!r}"
    return attrs.evolve(model, origin=f"recipe {hashlib.sha256(recipe.encode()).hexdigest()[:16]}")


MODELS = tuple(
    _signed(TinyModel(name, stop=True, seed=seed)) for seed, name in enumerate((*CHAT, EMBEDDING), start=1)
)


def file_name(model: TinyModel) -> str:
    """The model's file, without its directory. It stays the same from release to release."""
    return f"{model.name}.gguf"


def is_current(model: TinyModel, path: Path) -> bool:
    """Whether ``path`` holds this very model, judged by the recipe in its metadata."""
    try:
        with path.open("rb") as file:
            return model.description.encode() in file.read(_HEAD)
    except FileNotFoundError:
        return False


def write_if_needed(model: TinyModel, directory: Path) -> bool:
    """Write the model's file unless it is there; true if it was written.

    Raises:
      MissingExtra: it is not there, and the packages of the extra ``llama`` are not installed.
      OSError: it cannot be read or written.
    """
    path = directory / file_name(model)
    if is_current(model, path):
        return False
    write_tiny_gguf(model, path)
    return True
