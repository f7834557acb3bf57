"""What is true now, as the clients of ``/api/events`` are told it, and the news about it."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs

from swapcli.config import Configuration
from swapcli.logs import Source
from swapcore import Event, StateChanged

from .event_hub import EventHub
from .event_messages import InflightSnapshot, LogData, Message, ModelStatus, ProfileChanged, UiConfig
from .fleet import Fleet, state_of
from .model_status import model_status


def _nothing() -> tuple[()]:
    return ()


def _no_profile() -> None:
    return None


@attrs.define(eq=False)
class CurrentState:
    """One for the whole server: it outlives configurations, and so do the streams that are told of it."""

    hub: EventHub
    _fleet: Fleet
    _config: Configuration
    active_profile: Callable[[], str | None] = _no_profile
    requests_in_flight: Callable[[], Sequence[Mapping[str, Any]]] = _nothing
    """Their entries, by time of arrival."""

    def messages(self) -> tuple[Message, ...]:
        """Return all that a client has to know to follow the news from here on, without the logs."""
        return (
            self._status(),
            self._ui(),
            ProfileChanged(self.active_profile()),
            InflightSnapshot(self.requests_in_flight()),
        )

    def use(self, config: Configuration) -> None:
        """Another configuration is in force."""
        self._config = config
        self._tell_status()
        self.hub.publish(self._ui())

    def profile_changed(self, active: str | None) -> None:
        """Another profile is active."""
        self.hub.publish(ProfileChanged(active))
        self._tell_status()

    def take(self, event: Event) -> None:
        """Tell of it, if a model's state has changed. *event* is the supervisor's."""
        if isinstance(event, StateChanged):
            self._tell_status()

    def _tell_status(self) -> None:
        if self.hub.clients:
            self.hub.publish(self._status())

    def _status(self) -> ModelStatus:
        return ModelStatus(model_status(self._config, partial(state_of, self._fleet)))

    def _ui(self) -> UiConfig:
        return UiConfig(self._config.ui.activity.session_id)


@attrs.define(eq=False)
class LogNews:
    """Tells what is written to the server's logs; it is called with that."""

    _hub: EventHub
    _decoders: dict[Source, codecs.IncrementalDecoder] = attrs.field(
        factory=dict[Source, codecs.IncrementalDecoder], init=False
    )

    def __call__(self, source: Source, data: bytes) -> None:
        if not self._hub.clients:
            self._decoders.clear()
            return
        decoder = self._decoders.get(source)
        if decoder is None:
            decoder = self._decoders[source] = codecs.getincrementaldecoder("utf-8")("replace")
        if text := decoder.decode(data):  # a character may come in two pieces
            self._hub.publish(LogData(source, text))
