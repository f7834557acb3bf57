"""Where a request goes, and what is changed in it on the way there: by its name and its target only. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import attrs

from swapcli.config import Configuration
from swapcore import ModelId

from .body_filter import BodyFilter, Pieces
from .form_pairs import encoded, has_unreadable, pairs_of
from .model_name import AT_ONCE, Carrier, carrier_of
from .model_rename import renamed


@attrs.frozen
class Local:
    """A model that runs here."""

    model: ModelId


@attrs.frozen
class Remote:
    """A model of a peer."""

    peer: str
    model: str
    """What the peer calls it."""


Destination: TypeAlias = Local | Remote


@attrs.frozen
class Target:
    """A destination, and the name that led there: each name of a model may have filters of its own."""

    name: str
    destination: Destination


@attrs.frozen
class Asking:
    """What of a request may be changed."""

    method: str
    query: bytes
    content_type: str
    body: bytes
    model: str
    """As the client wrote it."""


@attrs.frozen
class Destinations:
    """Of one configuration."""

    _config: Configuration
    _of_models: Mapping[str, BodyFilter]
    _of_peers: Mapping[str, BodyFilter]
    _targets: Mapping[str, Target]
    """By each name that means something."""

    @classmethod
    def of(cls, config: Configuration) -> Destinations:
        return cls(
            config,
            {id: BodyFilter.of(model.filters) for id, model in config.models.items()},
            {id: BodyFilter.of(peer.filters) for id, peer in config.peers.items()},
            _targets(config),
        )

    def target(self, name: str) -> Target | None:
        """Who serves ``name``: a model of ours, by its id or an alias, else one of a peer; None: nobody."""
        return self._targets.get(name)

    def takes_long(self, asking: Asking, target: Target) -> bool:
        """Whether `edited` has so much to do that an event loop must not wait for it."""
        carrier, edits, model = self._edits(asking, target)
        if len(asking.query) > AT_ONCE:
            return True
        is_changed = model != asking.model or (carrier is Carrier.JSON and edits.changes(target.name))
        return is_changed and len(asking.body) > AT_ONCE

    def edited(self, asking: Asking, target: Target) -> tuple[bytes, Pieces]:
        """Return query and body as the target gets them.

        Raises:
          FilterFailed, RenameFailed: see there.
        """
        carrier, edits, model = self._edits(asking, target)
        query = asking.query
        if isinstance(target.destination, Remote) and has_unreadable(query):
            query = encoded(pairs_of(query))  # no two servers need agree on what it says
        body: Pieces = (asking.body,)
        if carrier is not Carrier.JSON and model != asking.model:
            query, body = renamed(
                carrier, model, query=query, content_type=asking.content_type, body=asking.body
            )
        elif carrier is Carrier.JSON and (model != asking.model or edits.changes(target.name)):
            body = edits.apply(asking.body, target.name, model if model != asking.model else None)
        return query, body

    def _edits(self, asking: Asking, target: Target) -> tuple[Carrier, BodyFilter, str]:
        """What carries the model's name, what is edited, and the name that the target is to get."""
        carrier = carrier_of(asking.method, asking.content_type)
        match target.destination:
            case Local(id):
                model = target.name
                if carrier in (Carrier.JSON, Carrier.MULTIPART):
                    model = self._config.models[id].use_model_name or model
                return carrier, self._of_models[id], model
            case Remote(peer, model):
                return carrier, self._of_peers[peer], model


def _targets(config: Configuration) -> dict[str, Target]:
    remote = {name: Target(name, Remote(*found)) for name, found in config.peer_models.items()}
    ours = {**config.aliases, **{id: id for id in config.models}}
    return {**remote, **{name: Target(name, Local(ModelId(id))) for name, id in ours.items()}}
