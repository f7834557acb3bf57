"""``make soak``: a real server under mixed traffic, with crashes, hangs, reloads and callers who leave.

    python tests/soak_server.py [--minutes 30] [--seed 0]

Every answer is checked: whom nobody harms has to be served, others get an error that fits what was done.
Resident memory may grow by less than 5 % after the first five minutes; descriptors and processes have to be
back at the end, and gone after Ctrl-C. What is wrong is said at once, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random

import attrs
import psutil
import trio

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from http_wire import CutOff, request  # noqa: E402
from served_models import Server, serving  # noqa: E402
from soak_caller import Caller, Question  # noqa: E402
from soak_customers import Customers  # noqa: E402
from soak_edits import Editor  # noqa: E402
from soak_fleet import STEADY, TURNS, WHOLE_FLEET, FleetFile  # noqa: E402
from soak_followers import Followers  # noqa: E402
from soak_judgement import Judge, Sample, TooManyFaults, growth  # noqa: E402
from soak_vandals import Vandals  # noqa: E402

SAMPLE_EVERY = 5.0
SETTLED = 300.0
"""Seconds after which memory must not grow any more."""
MOST_GROWTH = 0.05
MOST_THREADS = 60
"""Trio has up to 40 for what blocks."""
_SPARE = 2
"""Processes that are there before there is a model for them."""
_REST_WITHIN = 30.0
_END_WITHIN = 10.0
_DEED_WITHIN = 170.0
_ENOUGH_WITHIN = 60.0


@attrs.frozen(kw_only=True)
class Load:
    """How much is done at once."""

    members: int = 12
    pause: float = 0.35
    """Seconds between two deeds of a member, on average."""
    followers: int = 3
    reload_every: float = 4.0


@attrs.define(eq=False)
class Soak:
    """One server, and everybody around it."""

    server: Server
    file: FleetFile
    random: Random
    load: Load
    judge: Judge = attrs.field(factory=Judge, init=False)
    samples: list[Sample] = attrs.field(factory=list[Sample], init=False)
    _caller: Caller = attrs.field(init=False)
    _process: psutil.Process = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._caller = Caller(self.port, self.random, self.judge)
        self._process = psutil.Process(self.server.process.pid)

    @property
    def port(self) -> int:
        return int(self.server.url.rpartition(":")[2])

    async def run(self, seconds: float, *, report_every: float, is_enough: Callable[[Judge], bool]) -> None:
        """Disturb the server for so long, and until it *is_enough*, then stop it.

        What is wrong is with the judge.
        """
        with trio.move_on_after(120) as patience:
            before = await self._at_rest((STEADY,), lambda sample: sample.children <= _SPARE)
        if patience.cancelled_caught:
            self.judge.fault("the server never was at rest at first")
            return
        print(f"at rest at first: {before}", flush=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._crowd)
            nursery.start_soon(Followers(self._caller, self.random).run, self.load.followers)
            nursery.start_soon(
                Editor(self._caller, self.random, self.file, self.server).run, self.load.reload_every
            )
            nursery.start_soon(self._sample)
            nursery.start_soon(self._report, report_every)
            await trio.sleep(seconds)
            with trio.move_on_after(_ENOUGH_WITHIN):
                while not is_enough(self.judge):  # noqa: ASYNC110 - it only counts
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        self.file.edit("comment", self.random)
        await self._come_to_rest(before)
        await self._end()

    # -- under load ------------------------------------------------------------------

    async def _crowd(self) -> None:
        deeds = {
            **Customers(self._caller, self.random).deeds,
            **Vandals(self._caller, self.random).deeds,
        }

        async def live() -> None:
            while True:
                await trio.sleep(self.random.expovariate(1 / self.load.pause))
                (deed,) = self.random.choices(list(deeds), list(deeds.values()))
                try:
                    with trio.fail_after(_DEED_WITHIN):
                        await deed()
                except (CutOff, OSError, ValueError, KeyError, trio.BrokenResourceError) as error:
                    self.judge.fault(f"{deed.__name__}: {error!r}")
                except trio.TooSlowError:
                    self.judge.fault(f"{deed.__name__}: it took too long")

        async with trio.open_nursery() as nursery:
            for _ in range(self.load.members):
                nursery.start_soon(live)

    def _look(self) -> Sample:
        return Sample(
            at=trio.current_time() - self.judge.started,
            resident=self._process.memory_info().rss,
            descriptors=self._process.num_fds(),
            threads=self._process.num_threads(),
            children=len(self._process.children(recursive=True)),
        )

    async def _sample(self) -> None:
        while True:
            await trio.sleep(SAMPLE_EVERY)
            sample = self._look()
            self.samples.append(sample)
            if sample.threads > MOST_THREADS:
                self.judge.fault(f"{sample.threads} threads")

    async def _report(self, every: float) -> None:
        while True:
            await trio.sleep(every)
            requests = sum(self.judge.counts.values()) - sum(
                count for (kind, _), count in self.judge.counts.items() if kind in ("event", "log")
            )
            grown = growth(self.samples, since=SETTLED)
            text = "" if grown is None else f", memory {grown:+.1%} since {SETTLED:.0f} s"
            now = self._look()
            print(
                f"{now.at:6.0f} s  {requests:,} done, {len(self.judge.faults)} faults; {now}{text}",
                flush=True,
            )

    # -- before and after -----------------------------------------------------------

    async def _at_rest(self, models: Sequence[str], is_enough: Callable[[Sample], bool]) -> Sample:
        """Have *models* answer, unload all, and wait until *is_enough* of what is left then."""
        async with trio.open_nursery() as nursery:
            for model in models:
                question = Question("at rest", model, self._caller.body(model))
                nursery.start_soon(self._caller.ask, question)
        await self._caller.order("at rest", "GET", "/ui/", ())
        await self._caller.order("at rest", "POST", "/api/reload", ())
        await self._caller.order("at rest", "POST", "/api/models/unload", ())
        while True:
            sample = self._look()
            if is_enough(sample):
                return sample
            await trio.sleep(0.05)  # another process sends no events

    async def _come_to_rest(self, before: Sample) -> None:
        """Nothing may be left of all that was done."""
        with trio.move_on_after(_REST_WITHIN):
            for model in TURNS:
                await self._caller.order("unpin", "DELETE", f"/api/models/pin/{model}", ())
            after = await self._at_rest(
                WHOLE_FLEET,
                lambda now: now.descriptors <= before.descriptors and now.children <= before.children,
            )
            print(f"at rest at last:  {after}", flush=True)
            return
        self.judge.fault(f"at rest at first: {before}; after it all: {self._look()}, {self._open()}")

    def _open(self) -> list[str]:
        """What the server's descriptors lead to."""
        folder = Path(f"/proc/{self.server.process.pid}/fd")
        connections = [f"{each.laddr} {each.raddr} {each.status}" for each in self._process.net_connections()]
        return sorted(os.readlink(entry) for entry in folder.iterdir()) + connections

    async def _end(self) -> None:
        """Interrupt it while somebody gets an answer, and somebody follows it and does not read."""
        before = await self._served(STEADY)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(self._caller.ask_stream, "stream at the end", STEADY, 40))
            async with self._caller.connected() as listener:
                await listener.stream.send_all(request("GET", "/api/events"))
                await listener.head()
                with trio.move_on_after(_REST_WITHIN):  # the judge hears of it if it is not served
                    while await self._served(STEADY) == before:  # noqa: ASYNC110 - another process
                        await trio.sleep(0.02)
                self.server.process.send_signal(signal.SIGINT)
                with trio.move_on_after(_END_WITHIN) as patience:
                    while self.server.process.poll() is None:  # noqa: ASYNC110 - another process sends no events
                        await trio.sleep(0.05)
                if patience.cancelled_caught:
                    self.judge.fault(f"it still runs {_END_WITHIN:.0f} s after SIGINT")
        self._look_for_leavings()

    async def _served(self, model: str) -> int:
        """How many requests the model was given until now."""
        async with self._caller.connected() as client:
            reply = await self._caller.answer(client, "GET", "/api/fleet", body=None)
        report = json.loads(reply.body)["models"]
        return next(int(each["requests"]) for each in report if each["id"] == model)

    def _look_for_leavings(self) -> None:
        if (status := self.server.process.poll()) != 0:
            self.judge.fault(f"its exit status is {status}")
        if survivors := self.server.children.alive():
            self.judge.fault(f"processes survived: {survivors}")
        for port in (self.port, *self.file.ports):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    self.judge.fault(f"somebody listens on port {port}")
        allowed = {self.file.path.name, self.file.store.name, self.server.log.name, "tmp"}
        if left := {path.name for path in self.file.folder.iterdir()} - allowed:
            self.judge.fault(f"files are left: {left}")
        if left := {path.name for path in (self.file.folder / "tmp").iterdir()}:
            self.judge.fault(f"temporary files are left: {left}")


def judge_log(judge: Judge, log: Path) -> None:
    """A traceback in the log is a fault, whoever got an answer."""
    lines = log.read_text(errors="replace").splitlines()
    for number, line in enumerate(lines):
        if "Traceback (most recent call last)" in line:
            judge.fault("in the log:\n" + "\n".join(lines[max(0, number - 2) : number + 60]))
            return


def soak(
    folder: Path,
    *,
    seconds: float,
    seed: int,
    load: Load,
    report_every: float = 30.0,
    is_enough: Callable[[Judge], bool] = lambda _: True,
) -> Soak:
    """Run all of it in *folder*, as `Soak.run` does; what is wrong is with the judge of what this returns."""
    random = Random(seed)
    file = FleetFile(folder)
    file.write()
    (folder / "tmp").mkdir()

    async def run(server: Server) -> Soak:
        found = Soak(server, file, random, load)
        try:
            await found.run(seconds, report_every=report_every, is_enough=is_enough)
        except* TooManyFaults:
            pass
        if (grown := growth(found.samples, since=SETTLED)) is not None and grown >= MOST_GROWTH:
            found.judge.fault(f"memory grew by {grown:.1%} after the first {SETTLED:.0f} s")
        judge_log(found.judge, server.log)
        return found

    with serving(file.path, folder / "log", environ={"TMPDIR": str(folder / "tmp")}) as server:
        return trio.run(run, server)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0, help="of what is done; not of who is faster")
    parser.add_argument("--members", type=int, default=Load().members, help="clients that do things at once")
    parser.add_argument("--keep", type=Path, help="a new folder for the log and all else, that is kept")
    options = parser.parse_args()
    load = Load(members=options.members)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.keep is not None:
            folder = options.keep.absolute()
            folder.mkdir(parents=True)
        found = soak(folder, seconds=60 * options.minutes, seed=options.seed, load=load)
    print(found.judge.table())
    if found.samples:
        grown = growth(found.samples, since=SETTLED)
        print(f"first: {found.samples[0]}\nlast:  {found.samples[-1]}")
        print(
            "memory: too short to judge" if grown is None else f"memory: {grown:+.2%} since {SETTLED:.0f} s"
        )
    faults = found.judge.faults
    print(f"{len(faults)} faults" if faults else "no fault")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
