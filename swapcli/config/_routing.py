"""``routing``, ``groups`` and ``matrix``: which models may run together, and who is served next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ._words import ROUTERS, SCHEDULERS, STRATEGIES
from ._yaml_keys import yaml

DEFAULT_GROUP = "(default)"


@attrs.frozen
class Group:
    """Models that share a rule about swapping."""

    swap: bool = attrs.field(default=True, metadata=yaml("Loading a member stops the other members."))
    exclusive: bool = attrs.field(
        default=True,
        metadata=yaml("Loading a member stops the models of all groups that are not `persistent`."),
    )
    persistent: bool = attrs.field(
        default=False, metadata=yaml("Loading a model of another group does not stop the members.")
    )
    members: tuple[str, ...] = attrs.field(
        default=(), metadata=yaml("Ids of the models. A model is in one group.")
    )


@attrs.frozen
class Matrix:
    """The sets of models that may run together, as expressions."""

    vars: Mapping[str, str] = attrs.field(
        factory=dict[str, str], metadata=yaml("Short names for model ids, for the expressions.")
    )
    evict_costs: Mapping[str, int] = attrs.field(
        factory=dict[str, int],
        metadata=yaml("What stopping a model costs, by variable or id; others cost 1.", key="evict_costs"),
    )
    sets: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        metadata=yaml(
            "Named expressions: `a & b` together, `a | b` either, `+name` another set, parentheses."
        ),
    )


@attrs.frozen
class RouterSettings:
    """Settings of each router; only the chosen one's count."""

    groups: Mapping[str, Group] = attrs.field(
        factory=dict[str, Group],
        metadata=yaml("Groups, for `use: group`. Models in none are in `(default)`."),
    )
    matrix: Matrix | None = attrs.field(default=None, metadata=yaml("The sets, for `use: matrix`."))
    planner: Mapping[str, Any] = attrs.field(
        factory=dict[str, Any], metadata=yaml("Keyword arguments of `routing.router.planner`. Ours.")
    )


@attrs.frozen
class Router:
    """Which models may run together."""

    use: str = attrs.field(
        default="", metadata=yaml("`group` or `matrix`; empty: `group`.", words=("", *ROUTERS))
    )
    planner: str = attrs.field(
        default="", metadata=yaml("`lru`, or `package.module:Class`: decides what is stopped for what. Ours.")
    )
    settings: RouterSettings = attrs.field(factory=RouterSettings, metadata=yaml("Settings of the routers."))


@attrs.frozen
class Fifo:
    """The scheduler: first come, first served, with priorities and bounds."""

    priority: Mapping[str, int] = attrs.field(
        factory=dict[str, int],
        metadata=yaml("Priority of each model's requests; higher goes first, others are 0."),
    )
    priority_keys: tuple[str, ...] = attrs.field(
        default=(),
        metadata=yaml("Those of `apiKeys` whose requests may carry `X-Swap-Priority`. Without `apiKeys` all "
                      "may. Ours.", secret=True),
    )  # fmt: skip
    max_wait: float = attrs.field(
        default=120,
        metadata=yaml(
            "Seconds after which a waiting request closes the running models to new ones; 0: never. Ours."
        ),
    )
    leeway: float = attrs.field(
        default=60,
        metadata=yaml(
            "Seconds that a request may lose to an order that is better for all; 0: first come, first "
            "served. Ours."
        ),
    )
    min_residency: float = attrs.field(
        default=0,
        metadata=yaml("Seconds that a model stays at least before it is stopped for another. Ours."),
    )
    max_drain: float = attrs.field(
        default=0,
        metadata=yaml(
            "Seconds that requests may still run once `maxWait` has expired, then they are cut; 0: any. "
            "They count from when the model in the way is ready: a load is never cut. Ours."
        ),
    )


@attrs.frozen
class SchedulerSettings:
    """Settings of each scheduler."""

    fifo: Fifo = attrs.field(factory=Fifo, metadata=yaml("Settings of `fifo`."))


@attrs.frozen
class Scheduler:
    """Who is served next."""

    use: str = attrs.field(
        default="", metadata=yaml("`fifo`, which is also the default.", words=("", *SCHEDULERS))
    )
    settings: SchedulerSettings = attrs.field(
        factory=SchedulerSettings, metadata=yaml("Settings of the schedulers.")
    )


@attrs.frozen
class Routing:
    """Who runs, and who is served next."""

    router: Router = attrs.field(factory=Router, metadata=yaml("Which models may run together."))
    scheduler: Scheduler = attrs.field(factory=Scheduler, metadata=yaml("Who is served next."))


@attrs.frozen
class SelectorSettings:
    """Settings of a selector's strategy."""

    spillover: int = attrs.field(
        default=1, metadata=yaml("For `spillover`: requests that a target gets before the next one is used.")
    )


@attrs.frozen
class Selector:
    """A name that stands for one of several models, chosen at each request."""

    strategy: str = attrs.field(
        default="",
        metadata=yaml("`pin`: the first target; `warm`: the first that is loaded; `spillover`: the next one "
                      "when one is busy. Required.", words=STRATEGIES),
    )  # fmt: skip
    targets: tuple[str, ...] = attrs.field(default=(), metadata=yaml("Models to choose from; at least one."))
    settings: SelectorSettings = attrs.field(
        factory=SelectorSettings, metadata=yaml("Settings of the strategy.")
    )
    name: str = attrs.field(default="", metadata=yaml("A name for people, in the listing."))
    description: str = attrs.field(default="", metadata=yaml("A text for people, in the listing."))
    unlisted: bool = attrs.field(
        default=False, metadata=yaml("Not in the model listing; served all the same.")
    )
    metadata: Mapping[str, Any] = attrs.field(
        factory=dict[str, Any], metadata=yaml("Anything; shown in the listing and otherwise unused.")
    )


@attrs.frozen
class Profile:
    """Names that mean something else while the profile is active."""

    description: str = attrs.field(default="", metadata=yaml("A text for people."))
    pins: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        metadata=yaml(
            "Requested names and the models that they mean; an empty one is not served. At least one."
        ),
    )
