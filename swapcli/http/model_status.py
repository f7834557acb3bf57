"""What the clients of ``/api/events`` are told about the models. Pure."""

from __future__ import annotations

from typing import Any

from swapcli.config import Configuration
from swapcore import ModelId

from .model_listing import StateOf, capability_flags


def model_status(config: Configuration, state_of: StateOf) -> list[dict[str, Any]]:
    """Return an entry for each local model, by id, and then one for each model of a peer."""
    entries: list[dict[str, Any]] = []
    for id in sorted(config.models, key=str.encode):
        model = config.models[id]
        entry = _entry(id, name=model.name, description=model.description, unlisted=model.unlisted)
        entry["state"] = state_of(ModelId(id)).value
        optional = {
            "aliases": list(model.aliases),
            "capabilities": capability_flags(model.capabilities),
            "context_length": max(model.capabilities.context, 0),
        }
        entries.append(entry | {key: value for key, value in optional.items() if value})
    entries += [
        _entry(f"{peer}/{model}", peer=peer)
        for peer in sorted(config.peers)
        for model in config.peers[peer].models
    ]
    return entries


def _entry(
    id: str, *, name: str = "", description: str = "", unlisted: bool = False, peer: str = ""
) -> dict[str, Any]:
    return {
        "id": id,
        "name": name,
        "description": description,
        "state": "",
        "unlisted": unlisted,
        "peerID": peer,
    }
