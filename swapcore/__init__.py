"""Structured supervision of processes that cannot all run at once.

``async with open_supervisor(specs) as supervisor:`` and, for each use of a
model, ``async with supervisor.lease("qwen") as endpoint:`` is the whole of it.
"""

from ._errors import (
    BackingOff as BackingOff,
    Closed as Closed,
    GaveUp as GaveUp,
    Hung as Hung,
    ModelError as ModelError,
    Overloaded as Overloaded,
    Pinned as Pinned,
    PlannerFailed as PlannerFailed,
    Refused as Refused,
    StartFailed as StartFailed,
    StartTimeout as StartTimeout,
    StillAlive as StillAlive,
    SwapcoreError as SwapcoreError,
    UnknownModel as UnknownModel,
    Unloaded as Unloaded,
)
from ._events import (
    Crashed as Crashed,
    Event as Event,
    EventsMissed as EventsMissed,
    LeaseGranted as LeaseGranted,
    LeaseRefused as LeaseRefused,
    StateChanged as StateChanged,
    SwapCommitted as SwapCommitted,
    SwapEnded as SwapEnded,
)
from ._launch import (
    Launcher as Launcher,
    ProcessExited as ProcessExited,
    SubprocessLauncher as SubprocessLauncher,
    launch_subprocess as launch_subprocess,
)
from ._logs import LogChunk as LogChunk, ModelLog as ModelLog, current_log as current_log
from ._planner import (
    ExclusivePlanner as ExclusivePlanner,
    Refusal as Refusal,
    SwapPlan as SwapPlan,
    SwapPlanner as SwapPlanner,
)
from ._policy import SchedulingPolicy as SchedulingPolicy
from ._restart import RestartPolicy as RestartPolicy, RestartWhen as RestartWhen
from ._spec import Endpoint as Endpoint, Liveness as Liveness, ModelId as ModelId, ModelSpec as ModelSpec
from ._states import ProcState as ProcState
from ._statistics import ModelStatistics as ModelStatistics, Statistics as Statistics
from ._supervisor import Supervisor as Supervisor, Waiting as Waiting, open_supervisor as open_supervisor
from ._view import FleetView as FleetView, ModelView as ModelView
