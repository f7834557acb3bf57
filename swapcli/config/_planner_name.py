"""``routing.router.planner``: a planner of the user's own, by name."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from ._top_level import Configuration

LRU = "lru"
_CLASS = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


class PlannerError(Exception):
    """The planner cannot be made; ``str()`` says why. It belongs to the key ``routing.router.planner``."""


def planner_fault(name: str) -> str | None:
    """Why *name* cannot be a planner; ``None`` when it is ``lru`` or looks like ``package.module:Class``."""
    if name == LRU or _CLASS.fullmatch(name):
        return None
    return f"the planner must be lru or package.module:Class, not {name!r}"


def import_planner(config: Configuration, base_dir: Path) -> object | None:
    """An instance of the planner class that *config* names, with its settings. ``None``: it names no class.

    Args:
      base_dir: directory of the configuration file; modules beside it can be imported, after installed ones.
    Raises:
      PlannerError: the module, the class or the instance cannot be had; the original is its cause.
    """
    name = config.routing.router.planner
    module_name, colon, class_name = name.partition(":")
    if not colon:
        return None
    here = str(base_dir.absolute())
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        found: object = importlib.import_module(module_name)
        for part in class_name.split("."):
            found = getattr(found, part)
        if not callable(found):
            raise PlannerError(f"planner {name}: {class_name} is no class")
        planner: object = found(**config.routing.router.settings.planner)
    except PlannerError:
        raise
    except Exception as error:  # user code: anything may come out of it
        raise PlannerError(f"planner {name}: {type(error).__name__}: {error}") from error
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
    return planner
