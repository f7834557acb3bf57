"""Taking over an edited configuration while the server runs: who asks for it, and how it is done."""

from ._outcome import (
    Applied as Applied,
    Outcome as Outcome,
    Refused as Refused,
    as_json as as_json,
    summary as summary,
)
from ._reloader import Reloader as Reloader
from ._requests import Reloads as Reloads
from ._watch import Look as Look, look as look, watch as watch
