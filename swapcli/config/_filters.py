"""``filters``: what is changed in the JSON body of a request. Frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ._yaml_keys import yaml

_PROTECTED = "model"


@attrs.frozen
class PeerFilters:
    """Of a peer. Of a model: `ModelFilters`."""

    strip_params: str = attrs.field(
        default="", metadata=yaml("Comma-separated JSON paths that are removed; `model` is never removed.")
    )
    set_params: Mapping[str, Any] = attrs.field(
        factory=dict[str, Any],
        metadata=yaml("JSON paths and the values that they are set to; `model` is never set."),
    )
    set_params_by_id: Mapping[str, Mapping[str, Any]] = attrs.field(
        factory=dict[str, Mapping[str, Any]],
        metadata=yaml(
            "`setParams` by the name that was asked for, applied after `setParams`.", key="setParamsByID"
        ),
    )

    @property
    def strip_list(self) -> tuple[str, ...]:
        """What is removed, sorted."""
        names = {part.strip() for part in self.strip_params.split(",")} - {"", _PROTECTED}
        return tuple(sorted(names))

    @property
    def set_params_effective(self) -> dict[str, Any]:
        """What is set for every request, in the order of its keys."""
        return _settable(self.set_params)

    def set_params_for(self, name: str) -> dict[str, Any]:
        """What is set, after `set_params_effective`, for a request that asked for *name*."""
        return _settable(self.set_params_by_id.get(name, {}))


@attrs.frozen
class ModelFilters(PeerFilters):
    """Of a local model. The keys of ``setParamsByID`` are aliases of it."""

    set_params_by_id: Mapping[str, Mapping[str, Any]] = attrs.field(
        factory=dict[str, Mapping[str, Any]],
        metadata=yaml(
            "`setParams` by the name that was asked for, applied after `setParams`. Each is an alias.",
            key="setParamsByID",
        ),
    )


def _settable(params: Mapping[str, Any]) -> dict[str, Any]:
    return {key: params[key] for key in sorted(params) if key != _PROTECTED}
