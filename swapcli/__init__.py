"""`swapcli`: a server that starts model servers on demand and swaps between them."""

from __future__ import annotations
