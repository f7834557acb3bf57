"""What a model's, or a peer's, ``filters`` and ``useModelName`` make of a JSON body. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import attrs

from swapcli.config import PeerFilters

from .json_container import Container, take_apart
from .json_members import Text
from .json_paths import Path, PathFault, Query, Step, parse_path, remove_from, set_in
from .json_queries import replace_found
from .json_values import NoJson, rendered, string

Pieces: TypeAlias = tuple[Text, ...]
"""A body, in stretches of what the client sent and of what was put between them."""

_MODEL: Path = (Step("model"),)
_LONG = 64 * 1024
"""From so many bytes on, a stretch is sent from where it is."""


class FilterFailed(Exception):
    """An edit cannot be made to this body, or to any."""

    def __init__(self, verb: str, key: str) -> None:
        super().__init__(f"error {verb} parameter {key} {'from' if verb == 'stripping' else 'in'} request")


@attrs.frozen
class _Strip:
    key: str
    path: Path | Query

    def apply(self, container: Container) -> None:
        if isinstance(self.path, Query):
            raise FilterFailed("stripping", self.key)
        remove_from(container, self.path)


@attrs.frozen
class _Set:
    key: str
    path: Path | Query
    value: bytes | None
    """None: it is nothing that JSON has."""

    def apply(self, container: Container) -> None:
        if self.value is None:
            raise FilterFailed("setting", self.key)
        try:
            if isinstance(self.path, Query):
                replace_found(container, self.path.text, self.value)
            else:
                set_in(container, self.path, self.value)
        except PathFault:
            raise FilterFailed("setting", self.key) from None


@attrs.frozen
class BodyFilter:
    """The edits of one target, made once for all requests. Order: remove, set, set by name."""

    _strips: tuple[_Strip, ...]
    _sets: tuple[_Set, ...]
    _sets_by_name: Mapping[str, tuple[_Set, ...]]

    @classmethod
    def of(cls, filters: PeerFilters) -> BodyFilter:
        return cls(
            tuple(_Strip(key, parse_path(key)) for key in filters.strip_list),
            _setters(filters.set_params_effective),
            {name: _setters(filters.set_params_for(name)) for name in filters.set_params_by_id},
        )

    def changes(self, name: str) -> bool:
        """Whether a request that asks for ``name`` is changed at all."""
        return bool(self._strips or self._sets or self._sets_by_name.get(name))

    def apply(self, body: bytes, name: str, model: str | None) -> Pieces:
        """Return ``body`` edited for a request that asks for ``name``.

        Args:
          model: becomes the value of ``model``; None: that stays.
        Raises:
          FilterFailed: see there.
        """
        container = take_apart(body)
        if container is None or not container.is_object:
            return (body,)  # it has no parameters
        if model is not None:
            set_in(container, _MODEL, string(model))
        for strip in self._strips:
            strip.apply(container)
        for setter in (*self._sets, *self._sets_by_name.get(name, ())):
            setter.apply(container)
        return tuple(_gathered(container.pieces()))


def _gathered(pieces: Iterable[Text]) -> Iterator[Text]:
    """Yield the same text, the short pieces of it joined: each is a trip to the network."""
    short: list[Text] = []
    size = 0
    for piece in pieces:
        if short and size + len(piece) >= _LONG:
            yield b"".join(short)
            short, size = [], 0
        if len(piece) >= _LONG:
            yield piece
        else:
            short.append(piece)
            size += len(piece)
    if short:
        yield b"".join(short)


def _setters(params: Mapping[str, Any]) -> tuple[_Set, ...]:
    return tuple(_Set(key, parse_path(key), _rendered(value)) for key, value in params.items())


def _rendered(value: Any) -> bytes | None:
    try:
        return rendered(value)
    except NoJson:
        return None
