"""The configuration: llama-swap's YAML, read with every mistake shown where it is."""

from ._changes import Changes as Changes, changes as changes
from ._effective import effective as effective, written_out as written_out
from ._filters import ModelFilters as ModelFilters, PeerFilters as PeerFilters
from ._json_schema import schema as schema
from ._load import Loaded as Loaded, load as load, load_sources as load_sources
from ._matrix_dsl import (
    Either as Either,
    Expression as Expression,
    MatrixProgram as MatrixProgram,
    MatrixSet as MatrixSet,
    ModelTerm as ModelTerm,
    SetTerm as SetTerm,
    Together as Together,
)
from ._model import (
    Capabilities as Capabilities,
    ModelConfig as ModelConfig,
    PeerConfig as PeerConfig,
    PeerTimeouts as PeerTimeouts,
    Timeouts as Timeouts,
)
from ._planner import (
    import_planner as import_planner,
    make_planner as make_planner,
    planner_directory as planner_directory,
)
from ._ports import Ports as Ports
from ._problem import (
    ConfigurationError as ConfigurationError,
    Problem as Problem,
    Severity as Severity,
    render as render,
)
from ._routing import Profile as Profile, Selector as Selector, SelectorSettings as SelectorSettings
from ._source import Source as Source, find_sources as find_sources
from ._specs import scheduling_policy as scheduling_policy, to_specs as to_specs
from ._top_level import Configuration as Configuration, Performance as Performance
