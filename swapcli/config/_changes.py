"""What a new configuration changes, compared with the one in force. Pure."""

from __future__ import annotations

import attrs

from ._specs import to_specs
from ._top_level import Configuration
from ._yaml_keys import attributes_of

_TOLD_BY_MODELS = frozenset({"models", "macros"})


@attrs.frozen
class Changes:
    """Ids of models, each in one of the first five, and keys at the top; sorted as in the configuration."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    restarted: tuple[str, ...]
    """They would be launched in another way: a process that runs is stopped once its requests have ended."""
    changed: tuple[str, ...]
    """What is different about them holds from the next request on; a process that runs goes on."""
    unchanged: tuple[str, ...]
    settings: tuple[str, ...]
    """Keys other than ``models`` and ``macros``, whose effect is in the models."""

    @property
    def nothing(self) -> bool:
        """The two configurations mean the same."""
        return not (self.added or self.removed or self.restarted or self.changed or self.settings)


def changes(old: Configuration, new: Configuration) -> Changes:
    """Compare what two configurations mean, not how they are written."""
    before, after = ({spec.id: spec for spec in to_specs(config)} for config in (old, new))
    kept = [id for id in after if id in before]
    restarted = [id for id in kept if not after[id].launches_like(before[id])]
    same = [id for id in kept if after[id] == before[id] and new.models[id] == old.models[id]]
    return Changes(
        added=tuple(id for id in after if id not in before),
        removed=tuple(id for id in before if id not in after),
        restarted=tuple(restarted),
        changed=tuple(id for id in kept if id not in restarted and id not in same),
        unchanged=tuple(same),
        settings=tuple(
            key
            for key, attribute in attributes_of(Configuration).items()
            if key not in _TOLD_BY_MODELS and getattr(old, attribute.name) != getattr(new, attribute.name)
        ),
    )
