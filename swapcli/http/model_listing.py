"""What ``/v1/models`` and ``/running`` say about the configured models. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from swapcli.config import Configuration, ModelConfig
from swapcore import ModelId, ProcState

StateOf = Callable[[ModelId], ProcState]

_OWNER = "swapcli"
_CAPABILITY_KEYS = frozenset({"architecture", "capabilities", "supported_parameters", "context_length"})


def model_records(config: Configuration, state_of: StateOf, created: int) -> dict[str, Any]:
    """Return the body of ``GET /v1/models``.

    Args:
      created: Unix seconds, the same in all records.
    """
    records: list[dict[str, Any]] = []
    for id, model in config.models.items():
        if model.unlisted:
            continue
        is_loaded = state_of(ModelId(id)) is not ProcState.STOPPED
        record = _Record(id, model, created, is_loaded)
        own: dict[str, Any] = {"type": "model"}
        if model.aliases:
            own["aliases"] = list(model.aliases)
        records.append(record.as_json(id, own))
        if config.include_aliases_in_list:
            names = (alias.strip() for alias in model.aliases)
            records.extend(record.as_json(name, {"type": "alias", "modelID": id}) for name in names if name)
    return {"data": sorted(records, key=lambda record: _in_bytes(record["id"])), "object": "list"}


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
    """What the records of a model and of its aliases have in common."""

    id: str
    model: ModelConfig
    created: int
    is_loaded: bool

    def as_json(self, id: str, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record under ``id``; ``own`` is what only we may say about it."""
        model, can = self.model, self.model.capabilities
        metadata = {
            key: value for key, value in model.metadata.items() if can.empty or key not in _CAPABILITY_KEYS
        }
        meta: dict[str, Any] = {
            "llamaswap": dict(sorted({**metadata, **own}.items(), key=lambda item: _in_bytes(item[0])))
        }
        if can.context > 0:
            meta["n_ctx"] = can.context
        record: dict[str, Any] = {"id": id, "object": "model", "created": self.created, "owned_by": _OWNER}
        optional: dict[str, Any] = {
            "name": model.name.strip(),
            "description": model.description.strip(),
            "architecture": _architecture(can.inputs, can.outputs),
            "capabilities": capability_flags(model),
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


def capability_flags(model: ModelConfig) -> dict[str, bool]:
    """Return what *model* is good for, by the words that web pages know."""
    can = model.capabilities
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
