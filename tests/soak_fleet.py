"""The configuration of the soak: its models, what may be done to each, and how the file is edited."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import attrs
from real_children import free_port

MODEL = Path(__file__).parent / "soak_model.py"

STEADY, EDITED, STUBBORN, NARROW = "steady", "edited", "stubborn", "narrow"
CRASHING, HANGING, UNLOADED, BROKEN, GUEST = "crashing", "hanging", "unloaded", "broken", "guest"
TURNS = ("first", "second", "third")
GIANT = "giant"
ASSISTANT, EITHER = "assistant", "either"
NEVER_HARMED = (STEADY, EDITED, STUBBORN, *TURNS, GIANT)
"""Nobody crashes them; who asks them gets an answer."""
WHOLE_FLEET = (*NEVER_HARMED, NARROW, CRASHING, HANGING, UNLOADED)
"""All that start, and are always there."""

EDITS = ("comment", "argument", "port", "setting", "guest", "invalid")

_MANNERS = {
    STUBBORN: "stubborn family",
    "second": "slow",
    "third": "stubborn slow",
    GIANT: "family slow",
    BROKEN: "broken",
}
_SETTINGS = {
    CRASHING: ["restart: {intensity: 100000, backoff: 0.05, backoffMax: 0.2}"],
    HANGING: [
        "liveness: {every: 1, silent: 2}",
        "restart: {policy: always, intensity: 100000, backoff: 0.05, backoffMax: 0.2}",
    ],
    STUBBORN: ["unloadTimeout: 1"],
    "first": ["ttl: 1"],
    "third": ["ttl: 2", "unloadTimeout: 1"],
    GIANT: ["ttl: 2"],
    NARROW: ["concurrencyLimit: 1", "maxWaiting: 2"],
}


@attrs.define(eq=False)
class FleetFile:
    """The configuration file, and how it is edited."""

    folder: Path
    number: int = attrs.field(default=1, init=False)
    _argument: int = attrs.field(default=0, init=False)
    _ttl: int = attrs.field(default=60, init=False)
    has_guest: bool = attrs.field(default=True, init=False)
    _ports: dict[str, int] = attrs.field(factory=dict[str, int], init=False)

    @property
    def path(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def store(self) -> Path:
        return self.folder / "activity.sqlite"

    def _port_of_nobody(self) -> int:
        """A model that does not run, or is not in the file for now, has its port all the same."""
        while (port := free_port()) in self._ports.values():
            pass
        return port

    @property
    def ports(self) -> list[int]:
        """Those of the models, as they are now."""
        return list(self._ports.values())

    def text(self) -> str:
        together = [STEADY, EDITED, STUBBORN, NARROW, CRASHING, HANGING, UNLOADED, BROKEN]
        if self.has_guest:
            together.append(GUEST)
        models = (*together, *TURNS, GIANT)
        return "\n".join(
            [
                f"# edit {self.number}",
                "unloadTimeout: 3",
                "captureBuffer: 1",
                "logTimeFormat: rfc3339nano",
                f"store: {{path: {self.store}}}",
                "groups:",
                f"  together: {{swap: false, exclusive: false, members: [{', '.join(together)}]}}",
                f"  turns: {{swap: true, exclusive: false, members: [{', '.join(TURNS)}]}}",
                f"  alone: {{swap: true, exclusive: true, members: [{GIANT}]}}",
                "routing: {scheduler: {settings: {fifo: {maxWait: 5, leeway: 2}}}}",
                "selectors:",
                f"  {EITHER}: {{strategy: spillover, targets: [{STEADY}, {EDITED}]}}",
                "profiles:",
                f"  day: {{pins: {{{ASSISTANT}: {EDITED}}}}}",
                f"  night: {{pins: {{{ASSISTANT}: {STEADY}}}}}",
                "models:",
                *(line for model in models for line in self._model(model)),
                "",
            ]
        )

    def _model(self, model: str) -> list[str]:
        if (port := self._ports.get(model)) is None:
            port = self._ports[model] = self._port_of_nobody()
        manners = _MANNERS.get(model, "")
        if model == EDITED:
            manners = f"edit-{self._argument}"
        settings = list(_SETTINGS.get(model, ()))
        if model == STEADY:
            settings = [f"ttl: {self._ttl}", f"aliases: [{ASSISTANT}]"]
        return [
            f"  {model}:",
            f"    cmd: {sys.executable} -S {MODEL} {model} {port} {manners}",
            f"    proxy: http://127.0.0.1:{port}",
            *(f"    {setting}" for setting in settings),
        ]

    def write(self) -> None:
        self._replace(self.text())

    def _replace(self, text: str) -> None:
        new = self.folder / "config.new"
        new.write_text(text)
        new.rename(self.path)

    def edit(self, kind: str, random: Random) -> None:
        """Change the file in one of the ways of `EDITS`; what was invalid is valid again."""
        self.number += 1
        match kind:
            case "argument":
                self._argument += 1
            case "port":
                self._ports[EDITED] = self._port_of_nobody()
            case "setting":
                self._ttl = random.randint(30, 90)
            case "guest":
                self.has_guest = not self.has_guest
            case "invalid":
                self._replace(self.text() + "  broken: [\n")
                return
            case _:
                pass  # a comment has the number in it
        self.write()
