"""What code of others raised, as one model's failure. Launchers, planners and callbacks raise anything."""

from __future__ import annotations

import copy

from ._errors import ModelError


def as_failure(raised: BaseException) -> Exception:
    """Return what *raised* means for the one model that it came from; of a group of one, what is in it.

    A ``GeneratorExit`` counts as a failure: it is a generator's own affair that got out by mistake.

    Raises:
      BaseException: *raised* itself, if it, or a part of it, is for somebody further out: a
        KeyboardInterrupt, a SystemExit, a cancellation, the end of a test.
    """
    match raised:
        case BaseExceptionGroup(exceptions=(only,)):
            return as_failure(only)
        case BaseExceptionGroup(exceptions=several):
            for one in several:
                as_failure(one)
            if isinstance(raised, Exception):
                return raised
        case Exception():
            return raised
        case GeneratorExit():
            pass
        case _:
            raise raised
    failure = RuntimeError(f"it raised {repr_of(raised)}")
    failure.__cause__ = raised
    return failure


def reason_of(error: BaseException) -> str:
    """Say in one phrase what went wrong, without the name of the model. Never raises."""
    if isinstance(error, ModelError):
        return error.reason
    try:
        return str(error) or type(error).__name__
    except Exception:
        return repr_of(error)


def repr_of(error: BaseException) -> str:
    """``repr``, also of an exception whose own does not work."""
    try:
        return repr(error)
    except Exception:
        return f"{type(error).__name__}, which cannot be put into words"


def can_be_told(raised: BaseException) -> bool:
    """Whether its ``repr`` works. Trio takes that for granted of whatever leaves a task."""
    try:
        repr(raised)
    except Exception:
        return False
    return True


def copy_of(error: Exception) -> Exception:
    """Return one for one caller: raising one object in several tasks would tangle their tracebacks."""
    try:
        return copy.copy(error)
    except Exception:  # a class of somebody's own, made from other arguments than it keeps
        return error
