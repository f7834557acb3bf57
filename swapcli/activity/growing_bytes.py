"""Bytes that come piece by piece, of which most often there is only one. Pure."""

from __future__ import annotations


def grown(sofar: bytes | bytearray, piece: bytes) -> bytes | bytearray:
    """Return both together. A first piece is not copied; what is returned takes the place of *sofar*."""
    if not sofar:
        return piece
    whole = sofar if isinstance(sofar, bytearray) else bytearray(sofar)
    whole += piece
    return whole
