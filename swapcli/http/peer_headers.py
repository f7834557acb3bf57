"""The headers of a request to a peer: another server, to which nothing of our clients is known. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from swapcli.config import PeerConfig

_OF_THE_CLIENT = frozenset(
    {b"host", b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}
)
_CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"cookie"})


def peer_headers(headers: Iterable[tuple[bytes, bytes]], peer: PeerConfig) -> list[tuple[bytes, bytes]]:
    """Return the headers without what is between the client and us, and with the peer's own key.

    Args:
      headers: as the client sent them, names in lower case.
    """
    dropped = _OF_THE_CLIENT
    if not peer.pass_credentials:
        dropped |= _CREDENTIALS
    if peer.api_key:
        dropped |= {b"authorization", b"x-api-key"}
    kept = [(name, value) for name, value in headers if name not in dropped]
    if peer.api_key:
        key = peer.api_key.encode("utf-8", "surrogateescape")
        kept += [(b"authorization", b"Bearer " + key), (b"x-api-key", key)]
    return kept
