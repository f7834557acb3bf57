"""What recording costs is measured against this: the same server, following and counting nothing."""

from __future__ import annotations

from typing import Any

import attrs

from swapcli.activity.inflight import InflightRequest
from swapcli.activity.recorder import Recorder, Recording
from swapcli.metrics import FleetMetrics


class _Unfollowed(Recording):
    """Looks at nothing."""

    def waits(self, place: object) -> None:
        pass

    def goes_to(self, model: str, body: object) -> None:
        pass

    def granted(self, priority: int) -> None:
        pass

    def response_started(self, status: int, headers: object) -> None:
        pass

    def response_body(self, data: bytes, *, is_last: bool) -> None:
        pass

    def ended(self) -> None:
        pass


@attrs.frozen(eq=False)
class Unrecorded(Recorder):
    """The same object for every request."""

    _nothing: _Unfollowed = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        request = InflightRequest(
            id="", arrived_at=0, model="", path="", method="", headers=[], remote_ip="", cancel=list
        )
        object.__setattr__(self, "_nothing", _Unfollowed(self, request, "", ()))

    def follow(self, **_: Any) -> Recording:
        return self._nothing


class Uncounted(FleetMetrics):
    """Takes no time."""

    def lease_granted(self, *_: object) -> None:
        pass

    def request_ended(self, *_: object, **__: object) -> None:
        pass
