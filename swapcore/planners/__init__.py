"""Planners that are ready to use, beside `swapcore.ExclusivePlanner`. Pure values: no trio, no I/O.

`GroupsPlanner`: models in groups. `MatrixPlanner`: sets of models that may run
together, as expressions. `LruPlanner`: so many at a time, the least recently
used goes first. Each is a `swapcore.SwapPlanner` for `swapcore.open_supervisor`.
"""

from .expressions import (
    AllOf as AllOf,
    AnyOf as AnyOf,
    Expression as Expression,
    Include as Include,
    Model as Model,
)
from .groups import Group as Group, GroupsPlanner as GroupsPlanner
from .lru import LruPlanner as LruPlanner
from .matrix import Choice as Choice, MatrixPlanner as MatrixPlanner
