"""Requests of which it is known who is to answer them."""

from __future__ import annotations

import attrs

from swapcli.config import Configuration
from swapcli.metrics import FleetMetrics

from .bookings import Booking
from .call import Call, Sending
from .destinations import Local, Remote, Target
from .error_answers import ErrorAnswer
from .fleet import Fleet
from .local_requests import LocalRequests
from .peer_requests import PeerRequests
from .upstream_pool import UpstreamPool


@attrs.frozen(eq=False)
class TargetRequests:
    """According to one configuration, and the same whichever way requests come to their targets."""

    _local: LocalRequests
    _peers: PeerRequests

    @classmethod
    def of(
        cls, config: Configuration, fleet: Fleet, pool: UpstreamPool, metrics: FleetMetrics
    ) -> TargetRequests:
        return cls(LocalRequests.of(config, fleet, pool, metrics), PeerRequests.of(config, pool))

    async def serve(
        self, target: Target, call: Call, sending: Sending, booking: Booking
    ) -> ErrorAnswer | None:
        """Have the target answer; returns the error that is still to be sent, if there is one.

        Args:
          booking: of the target's destination.
        Cancellation: see `LocalRequests.serve` and `PeerRequests.serve`.
        """
        match target.destination:
            case Local(model):
                call.goes_to(model, sending)
                return await self._local.serve(call, model, sending, booking)
            case Remote() as remote:
                call.goes_to(target.name, sending)
                return await self._peers.serve(call, remote, sending)
