"""What ``/v1/models`` and ``/running`` say about all that a request may name. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from swapcli.config import Capabilities, Configuration, ModelConfig, Selector
from swapcore import ModelId, ProcState

StateOf = Callable[[ModelId], ProcState]

_NOTHING_STATED = Capabilities()
_OWNER = "swapcli"
_CAPABILITY_KEYS = frozenset({"architecture", "capabilities", "supported_parameters", "context_length"})


def model_records(
    config: Configuration, state_of: StateOf, created: int, profile: str | None = None
) -> dict[str, Any]:
    """Return the body of ``GET /v1/models``.

    Args:
      created: Unix seconds, the same in all records.
      profile: the active one.
    """
    records: list[dict[str, Any]] = []
    for id, model in config.models.items():
        if not model.unlisted:
            records += _of_model(id, model, config, created, state_of(ModelId(id)) is not ProcState.STOPPED)
    for peer, peer_config in config.peers.items():
        for name in peer_config.models:
            record = _Record(created, name=f"{peer}: {name}")
            records.append(record.as_json(f"{peer}/{name}", {"type": "peer", "peerID": peer}))
    for id, selector in config.selectors.items():
        if not selector.unlisted:
            records.append(_of_selector(id, selector, created, _is_loaded(selector, config, state_of)))
    for name in _names_of_profile(config, profile):
        records.append(_Record(created).as_json(name, {"type": "profile"}))
    return {"data": sorted(records, key=lambda record: _in_bytes(record["id"])), "object": "list"}


def _of_model(
    id: str, model: ModelConfig, config: Configuration, created: int, is_loaded: bool
) -> Iterator[dict[str, Any]]:
    record = _Record(created, is_loaded, model.name, model.description, model.metadata, model.capabilities)
    own: dict[str, Any] = {"type": "model"}
    if model.aliases:
        own["aliases"] = list(model.aliases)
    yield record.as_json(id, own)
    if config.include_aliases_in_list:
        for alias in model.aliases:
            if alias.strip():
                yield record.as_json(alias.strip(), {"type": "alias", "modelID": id})


def _of_selector(id: str, selector: Selector, created: int, is_loaded: bool) -> dict[str, Any]:
    record = _Record(created, is_loaded, selector.name, selector.description, selector.metadata)
    own: dict[str, Any] = {
        "type": "selector",
        "strategy": selector.strategy,
        "targets": list(selector.targets),
    }
    if selector.strategy == "spillover":
        own["spillover"] = selector.settings.spillover
    return record.as_json(id, own)


def _is_loaded(selector: Selector, config: Configuration, state_of: StateOf) -> bool:
    """Whether a request would find a model that runs, or is about to."""
    targets = selector.targets[:1] if selector.strategy == "pin" else selector.targets
    local = [model for target in targets if (model := config.resolve(target)) is not None]
    return any(state_of(ModelId(model)) in (ProcState.READY, ProcState.STARTING) for model in local)


def _names_of_profile(config: Configuration, profile: str | None) -> Iterator[str]:
    """What can be asked for only while the profile is active."""
    if profile is not None and profile in config.profiles:
        for name, target in config.profiles[profile].pins.items():
            is_known = config.resolve(name) is not None or config.resolve_peer(name) is not None
            if target and not is_known and name not in config.selectors:
                yield name


def running_models(config: Configuration, state_of: StateOf) -> dict[str, Any]:
    """Return the body of ``GET /running``."""
    states = {id: state_of(ModelId(id)) for id in sorted(config.models, key=_in_bytes)}
    return {
        "running": [
            {
                "model": id,
                "state": state.value,
                "cmd": config.models[id].cmd,
                "proxy": config.models[id].proxy,
                "ttl": max(config.models[id].ttl, 0),
                "name": config.models[id].name,
                "description": config.models[id].description,
            }
            for id, state in states.items()
            if state is not ProcState.STOPPED
        ]
    }


@attrs.frozen
class _Record:
    """What the records of a model and of its aliases have in common, and those of others have, too."""

    created: int
    is_loaded: bool = False
    name: str = ""
    description: str = ""
    metadata: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    capabilities: Capabilities = _NOTHING_STATED

    def as_json(self, id: str, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record under ``id``; ``own`` is what only we may say about it."""
        can = self.capabilities
        metadata = {
            key: value for key, value in self.metadata.items() if can.empty or key not in _CAPABILITY_KEYS
        }
        meta: dict[str, Any] = {
            "llamaswap": dict(sorted({**metadata, **own}.items(), key=lambda item: _in_bytes(item[0])))
        }
        if can.context > 0:
            meta["n_ctx"] = can.context
        record: dict[str, Any] = {"id": id, "object": "model", "created": self.created, "owned_by": _OWNER}
        optional: dict[str, Any] = {
            "name": self.name.strip(),
            "description": self.description.strip(),
            "architecture": _architecture(can.inputs, can.outputs),
            "capabilities": capability_flags(can),
            "supported_parameters": ["tools", "tool_choice"] if can.tools else [],
            "context_length": max(can.context, 0),
            "meta": meta,
        }
        record.update({key: value for key, value in optional.items() if value})
        record["status"] = {"value": "loaded" if self.is_loaded else "unloaded"}
        return record


def _architecture(inputs: Iterable[str], outputs: Iterable[str]) -> dict[str, Any]:
    reads, produces = list(inputs), list(outputs)
    found: dict[str, Any] = {}
    if reads:
        found["input_modalities"] = reads
    if reads and produces:
        found["modality"] = "+".join(reads) + "->" + "+".join(produces)
    if produces:
        found["output_modalities"] = produces
    return found


def capability_flags(can: Capabilities) -> dict[str, bool]:
    """Return what a model is good for, by the words that web pages know."""
    reads, produces = set(can.inputs), set(can.outputs)
    flags = {
        "vision": "image" in reads,
        "audio_transcriptions": "audio" in reads and "text" in produces,
        "audio_speech": "text" in reads and "audio" in produces,
        "image_generation": "text" in reads and "image" in produces,
        "image_to_image": "image" in reads and "image" in produces,
        "function_calling": can.tools,
        "reranker": can.reranker,
    }
    return {name: True for name, is_on in flags.items() if is_on}


def _in_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
