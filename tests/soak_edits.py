"""Who edits the configuration of the soak, and has it read again."""

from __future__ import annotations

import json
import signal
from random import Random

import attrs
import trio
from served_models import Server
from soak_caller import Caller
from soak_fleet import EDITED, EDITS, FleetFile


@attrs.frozen(eq=False)
class Editor:
    """Edits, says so in one way or another, and looks at the answer where there is one."""

    caller: Caller
    random: Random
    file: FleetFile
    server: Server

    async def run(self, every: float) -> None:
        """Edit the file each *every* seconds on average, until cancelled."""
        while True:
            await trio.sleep(self.random.expovariate(1 / every))
            kind = self.random.choice(EDITS)
            self.file.edit(kind, self.random)
            if self.random.random() < 0.4:
                self.server.process.send_signal(signal.SIGHUP)
                self.caller.judge.count("reload", f"{kind} by SIGHUP")
            else:
                await self._reload(kind)

    async def _reload(self, kind: str) -> None:
        # A SIGHUP shortly before may have taken the edit in already; then nothing is left to restart.
        async with self.caller.connected() as client:
            reply = await self.caller.answer(client, "POST", "/api/reload", body=b"")
        told = json.loads(reply.body)
        restarted = told["models"]["restarted"] if reply.status == 200 else None
        match kind:
            case "invalid":
                is_right = reply.status == 422 and not told["ok"]
            case "comment" | "setting" | "guest":
                is_right = restarted is not None and set(restarted) <= {EDITED}
            case _:
                is_right = restarted in ([EDITED], [])
        if not is_right:
            self.caller.judge.fault(f"reload of {kind}: {reply.status} {reply.body[:500]!r}")
        self.caller.judge.count("reload", kind)
