"""What can go wrong for a caller: one class for each thing a caller may do differently.

HTTP statuses are not decided here; a front end maps the classes to them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ._spec import ModelId


class SwapcoreError(Exception):
    """Base of every error that swapcore raises on purpose."""


class UnknownModel(SwapcoreError, LookupError):
    """No such model in this supervisor."""

    def __init__(self, model: ModelId) -> None:
        super().__init__(model)
        self.model = model

    def __str__(self) -> str:
        return f"no model named {self.model!r}"


class ModelError(SwapcoreError):
    """Something about one model; ``model`` says which, ``reason`` why."""

    def __init__(self, model: ModelId, reason: str) -> None:
        super().__init__(model, reason)  # as they came: several callers get a copy each
        self.model = model
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.model}: {self.reason}"


class StartFailed(ModelError):
    """The process ended, or could not be started, before it became ready.

    The last lines of its output are attached as a note (``__notes__``).
    """


class StartTimeout(StartFailed):
    """The process did not become ready within its ``start_timeout``."""


class Hung(ModelError):
    """The process was ready, and stopped answering, or producing anything, while it was in use."""


class StillAlive(ModelError):
    """The process was killed, and is there all the same. Nothing is started in its place until it has gone.

    A launcher raises it where it would have raised ``Cancelled``, or returned, had the process ended.
    """

    def __init__(self, model: ModelId, reason: str, wait_gone: Callable[[], Awaitable[None]]) -> None:
        super().__init__(model, reason)
        self.args = (model, reason, wait_gone)
        self.wait_gone = wait_gone
        """Blocks until it has gone after all. Cancellation: it is left to itself."""


class Unloaded(ModelError):
    """The model was unloaded, or taken out of the configuration, while the caller waited."""


class Overloaded(ModelError):
    """As many callers wait for the model as its ``max_waiting`` allows."""

    def __init__(self, model: ModelId, reason: str, retry_after: float | None = None) -> None:
        super().__init__(model, reason)
        self.args = (model, reason, retry_after)
        self.retry_after = retry_after
        """Seconds until there is likely to be a place; ``None``: it was never measured what that takes."""


class BackingOff(ModelError):
    """The model failed a moment ago, and is not started again yet."""

    def __init__(self, model: ModelId, reason: str, retry_after: float | None) -> None:
        super().__init__(model, reason)
        self.args = (model, reason, retry_after)
        self.retry_after = retry_after
        """Seconds until a start is tried again; ``None``: not before it is unloaded or reconfigured."""

    def __str__(self) -> str:
        when = "not started again" if self.retry_after is None else f"next try in {self.retry_after:.1f} s"
        return f"{self.model}: {self.reason} ({when})"


class Refused(ModelError):
    """The planner does not let the model run as things are. Waiting would not help."""


class Pinned(Refused):
    """The model could run only if pinned ones were stopped."""


class PlannerFailed(ModelError):
    """The planner raised, or answered with something that cannot be carried out."""


class GaveUp(ModelError):
    """The caller was not served within the time that it had allowed for waiting."""


class Closed(SwapcoreError):
    """The supervisor is shutting down, or has."""

    def __str__(self) -> str:
        return "the supervisor is shutting down"
