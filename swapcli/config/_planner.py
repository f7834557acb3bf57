"""The planner that a configuration asks for: groups, a matrix, or a class by name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from swapcore import ModelId, SwapPlanner
from swapcore.planners import (
    AllOf,
    AnyOf,
    Expression as PlannerExpression,
    Group,
    GroupsPlanner,
    Include,
    LruPlanner,
    MatrixPlanner,
    Model,
)

from ._load import Loaded
from ._matrix_dsl import Either, Expression, ModelTerm, SetTerm, Together
from ._planner_name import LRU
from ._problem import ConfigurationError

_KEY = ("routing", "router", "planner")


def planner_directory(source: Path) -> Path:
    """The ``base_dir`` of `make_planner` for a configuration at *source*, a file or a directory of files."""
    return source.resolve() if source.is_dir() else source.resolve().parent


def make_planner(loaded: Loaded, base_dir: Path) -> SwapPlanner:
    """The planner of *loaded*: the one it names, else that of its matrix or its groups.

    Args:
      base_dir: directory of the configuration file, for `import_planner`.
    Raises:
      ConfigurationError: the planner that is named cannot be had.
    """
    planner = import_planner(loaded, base_dir)
    if planner is not None:
        return planner
    program = loaded.config.matrix_program
    if program is not None:
        sets = {matrix_set.name: _for_planner(matrix_set.expression) for matrix_set in program.sets}
        return MatrixPlanner(sets, {ModelId(model): cost for model, cost in program.costs.items()})
    groups = loaded.config.routing.router.settings.groups
    return GroupsPlanner(
        {
            name: Group(
                tuple(map(ModelId, group.members)),
                swap=group.swap,
                exclusive=group.exclusive,
                persistent=group.persistent,
            )
            for name, group in groups.items()
        }
    )


def _for_planner(expression: Expression) -> PlannerExpression:
    match expression:
        case ModelTerm(model):
            return Model(ModelId(model))
        case SetTerm(name):
            return Include(name)
        case Together(parts):
            return AllOf(tuple(map(_for_planner, parts)))
        case Either(parts):
            return AnyOf(tuple(map(_for_planner, parts)))


def import_planner(loaded: Loaded, base_dir: Path) -> SwapPlanner | None:
    """An instance of the planner class that *loaded* names, with its settings; ``None``: it names none.

    Args:
      base_dir: directory of the configuration file; modules beside it can be imported, after installed ones.
    Raises:
      ConfigurationError: the module, the class or the instance cannot be had; the original is its cause.
    """
    router = loaded.config.routing.router
    if not router.planner:
        return None
    try:
        planner = _class_named(router.planner, base_dir)(**router.settings.planner)
        for method in ("evictions", "choose_next"):
            if not callable(getattr(planner, method, None)):
                raise TypeError(f"{router.planner} has no method {method}")
    except (Exception, SystemExit) as error:  # a user's code: anything may come out of it
        reason = f"{router.planner} cannot be used: {type(error).__name__}: {error}"
        raise ConfigurationError([loaded.problem(_KEY, reason)]) from error
    return planner


def _class_named(name: str, base_dir: Path) -> Callable[..., SwapPlanner]:
    if name == LRU:
        return LruPlanner
    module_name, _, class_name = name.partition(":")
    here = str(base_dir.absolute())
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        found: object = importlib.import_module(module_name)
    finally:
        if added:
            sys.path.remove(here)
    for part in class_name.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{class_name} is no class")
    return found
