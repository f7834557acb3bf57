"""Which key a request carries, and whether it opens the door. Pure."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Collection


def candidate_key(authorization: str, x_api_key: str) -> bytes:
    """Return the one key of a request that counts; empty when it carries none.

    The password of ``Authorization: Basic``, else everything after ``Bearer``, else ``x-api-key``. A wrong
    key in ``Authorization`` is not rescued by a right one in ``x-api-key``.

    Args:
      authorization: a header's value, each character a byte of it; so is the other one.
    """
    scheme, _, credentials = authorization.partition(" ")
    match scheme.lower():
        case "basic":
            key = _basic_password(credentials)
        case "bearer":
            key = credentials.encode("latin-1")
        case _:
            key = b""
    return key or x_api_key.encode("latin-1")


def is_allowed(keys: Collection[str], authorization: str, x_api_key: str) -> bool:
    """Without configured keys everybody is allowed. A key that is not ASCII is sent as UTF-8."""
    if not keys:
        return True
    candidate = candidate_key(authorization, x_api_key)
    # Compared with every key and in constant time, so that an answer's delay tells nothing about a key.
    return sum(hmac.compare_digest(candidate, key.encode("utf-8", "surrogateescape")) for key in keys) > 0


def _basic_password(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except ValueError:
        return b""
