"""Requests that a peer answers: another server, which is asked in our name."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

import attrs

from swapcli.config import Configuration, PeerConfig
from swapcore import Endpoint

from .call import Call, Sending
from .destinations import Remote
from .error_answers import ErrorAnswer, bad_head, declined, peer_failed
from .http1_upstream import UpstreamBroken, UpstreamGone, UpstreamStopped, UpstreamTooSlow
from .peer_headers import peer_headers
from .relay import UpstreamDeclined, relay
from .upstream_pool import UpstreamPool
from .upstream_request import BadRequestHead, UpstreamRequest, upstream_timeouts

log = logging.getLogger("swapcli.http")


@attrs.frozen(eq=False)
class PeerRequests:
    """To the peers of one configuration."""

    _pool: UpstreamPool
    _peers: Mapping[str, PeerConfig]
    _endpoints: Mapping[str, Endpoint | None]
    """None: nothing can be sent there; a warning at the start has said why."""

    @classmethod
    def of(cls, config: Configuration, pool: UpstreamPool) -> PeerRequests:
        endpoints = {id: _endpoint(peer.proxy) for id, peer in config.peers.items()}
        return cls(pool, config.peers, endpoints)

    async def serve(self, call: Call, remote: Remote, sending: Sending) -> ErrorAnswer | None:
        """Relay a request; returns the error that is still to be sent, if there is one.

        An answer that broke off is left unfinished, for the server to abort.
        Cancellation: closes the connection to the peer.
        """
        peer, endpoint = self._peers[remote.peer], self._endpoints[remote.peer]
        if endpoint is None:
            return peer_failed(f"nothing can be sent to the proxy of {remote.peer}")
        exchange = call.exchange
        request = UpstreamRequest(
            method=exchange.method,
            path=call.path,
            query=sending.query,
            headers=peer_headers(call.headers, peer),
            body=exchange.websocket() if exchange.may_upgrade else sending.body,
            client_host="",
            timeouts=upstream_timeouts(peer.timeouts),
        )
        try:
            ending = await relay(
                request,
                endpoint,
                self._pool,
                call.send,
                with_trailers=exchange.takes_trailers,
                unwanted=sending.unwanted,
            )
        except BadRequestHead as bad:
            return bad_head(str(bad))
        except UpstreamDeclined as answer:
            return declined(f"{remote.peer}/{remote.model}", answer.status)
        except (UpstreamGone, UpstreamBroken, UpstreamStopped, UpstreamTooSlow) as failure:
            if call.is_answered:
                log.warning("%s/%s: an answer was broken off: %s", remote.peer, remote.model, failure)
                return None
            log.warning("%s/%s: %s", remote.peer, remote.model, failure)
            return peer_failed(with_hint(str(failure), sys.platform))
        await ending.send_to(call.send)
        return None


def with_hint(why: str, platform: str) -> str:
    """Add what people with a Mac need to know: without permission, the network looks absent."""
    if platform == "darwin" and "no route to host" in why.lower():
        why += " (hint: on macOS, check System Settings > Privacy & Security > Local Network permissions)"
    return why


def _endpoint(url: str) -> Endpoint | None:
    try:
        endpoint = Endpoint(url)
    except ValueError:
        return None
    return endpoint if endpoint.scheme in ("http", "https") else None
