"""A chaos run: start a throw-away cluster, strike it by schedule, drain it, and look at it all."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import attrs
from twisted.internet import threads
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from ..client.options import Options
from . import chaos_history as history
from .chaos_audit import Audit
from .chaos_check import Verdict, check
from .chaos_cluster import Cluster, Shape
from .chaos_faults import Faults
from .chaos_ground import Ground, clock_library, missing
from .chaos_jobs import FLAKY, NOTES
from .chaos_schedule import Fault, make_schedule
from .settings import BY_KEY

Tell = Callable[[str], None]
"""Takes a line for people."""

TELL_SECONDS = 5.0
DRAIN = 90.0
"""Seconds of the drain in which not one job ends, before it is given up."""
FIRST_WORK = 30.0
"""Seconds for which the storm waits for the first execution."""
_TICK = 0.2


def durable() -> bool:
    """Whether a coordinator's queue outlives its process here."""
    return "ephemeral" in BY_KEY and find_spec("ampacity.coordinator.kept") is not None


@attrs.frozen(kw_only=True)
class Wish:
    """What is to be run."""

    seed: int
    jobs: int
    workers: int
    slots: int
    seconds: float
    faults: Mapping[str, Fault]
    clients: int = 2
    keep: Path | None = None
    """A folder to leave everything in."""

    def command(self) -> str:
        """The command line that runs it again."""
        faults = ",".join(fault.shown(name) for name, fault in self.faults.items())
        return (
            f"ampacity chaos --seed {self.seed} --jobs {self.jobs} --workers {self.workers} "
            f"--slots {self.slots} --seconds {self.seconds:g} --faults {faults or 'none'}"
        )


@attrs.frozen(kw_only=True)
class Result:
    """What came out of a run."""

    wish: Wish
    verdict: Verdict
    skipped: dict[str, str]
    """Faults that could not be had here, and why."""
    missed: int
    """Strikes that found no victim."""
    untidy: list[str]
    """Processes that ended by themselves, or outlived their parents."""
    tracebacks: list[str]
    """The logs, where there are some."""
    seconds: float
    folder: Path | None
    """Where histories and logs are, if they were kept."""

    @property
    def proved(self) -> bool:
        return self.verdict.proved and not self.untidy


class Engine:
    """One run. ``run`` leaves no process, mount or namespace behind, whatever happens."""

    def __init__(self, reactor: Any, wish: Wish, tell: Tell) -> None:
        self._reactor = reactor
        self._tell = tell
        self._skipped = {
            name: why for name in wish.faults if (why := missing(name, durable())) is not None
        }
        self._wish = wish
        self._chosen = {k: v for k, v in wish.faults.items() if k not in self._skipped}
        self._ground = Ground()
        self._struck: list[history.Struck] = []
        self._found: list[history.Found] = []
        self._told = 0.0
        self._began = 0.0
        self._ended = 0
        self._moved = 0.0
        """When a client was last told of an end."""

    async def run(self) -> Result:
        """The result, or whatever kept the cluster from starting."""
        began = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix="ampacity-chaos-"))
        cluster: Cluster | None = None
        gently = False
        left: list[str] = []
        try:
            cluster = await self._cluster(folder)
            missed = await self._storm(cluster)
            gently = True
        finally:
            if cluster is not None:
                left = await cluster.stop(gently)
            await threads.deferToThread(self._ground.clear)
            if not gently:
                self._leave(folder)
        return await self._look(folder, cluster, left, missed, began)

    # -- beginning --------------------------------------------------------------------------------

    async def _cluster(self, folder: Path) -> Cluster:
        await threads.deferToThread(self._make_ground, folder)
        wish = self._wish
        shape = Shape(
            workers=wish.workers,
            slots=wish.slots,
            clients=wish.clients,
            durable=durable(),
            far=self._ground.before,
            far_host=self._ground.here,
            clock=clock_library() if "clock" in self._chosen else "",
        )
        chance = Random(f"{wish.seed} pauses")  # noqa: S311  # to be drawn again from the seed
        cluster = Cluster(self._reactor, folder, shape, chance)
        retries = durable() and "retries" in attrs.fields_dict(Options)
        try:
            await cluster.start(wish.seed, wish.jobs, wish.seconds, retries)
        except BaseException:
            await cluster.stop(gently=False)
            raise
        return cluster

    def _make_ground(self, folder: Path) -> None:
        """Blocking: the disk and the network that faults need; who cannot be had is left out."""
        for fault, make in (
            ("full-disk", partial(self._ground.make_disk, folder / "s")),
            ("cut-network", self._ground.make_network),
        ):
            if fault not in self._chosen:
                continue
            try:
                make()
            except OSError as e:
                self._skipped[fault] = str(e)
                del self._chosen[fault]

    # -- the storm --------------------------------------------------------------------------------

    async def _storm(self, cluster: Cluster) -> int:
        """Strike, lift everything, drain, and ask the coordinator; strikes that found nobody."""
        await self._first_work(cluster)
        faults = Faults(cluster, self._ground, self._struck.append)
        strikes = make_schedule(self._wish.seed, self._wish.seconds, self._chosen)
        for strike in strikes:
            await self._until(cluster, strike.at)
            if cluster.clients_done or cluster.broken:
                break
            faults.strike(strike)
        await self._until(cluster, self._wish.seconds)
        await faults.over()
        self._tell("no more faults; draining")
        audit = Audit(self._reactor, cluster)
        self._moved = time.monotonic()
        until = self._moved + DRAIN + self._wish.seconds
        await self._while(cluster, lambda: time.monotonic() < min(until, self._moved + DRAIN))
        self._found = await audit.run(DRAIN / 3)
        cluster.see_who_waits()
        return faults.missed

    async def _first_work(self, cluster: Cluster) -> None:
        """The storm begins when there is something to be struck."""
        notes = Path(cluster.brief.folder, NOTES)
        until = time.monotonic() + FIRST_WORK
        await self._while(cluster, lambda: time.monotonic() < until and not notes.exists())
        self._began = time.monotonic()

    async def _until(self, cluster: Cluster, at: float) -> None:
        await self._while(cluster, lambda: time.monotonic() < self._began + at)

    async def _while(self, cluster: Cluster, more: Callable[[], bool]) -> None:
        """Let time go by, and tell how it goes, until it is over or nothing is left to see."""
        while more() and not cluster.clients_done and not cluster.broken:
            await deferLater(self._reactor, _TICK)
            if time.monotonic() > self._told + TELL_SECONDS:
                self._told = time.monotonic()
                self._tell(await threads.deferToThread(self._progress, cluster))

    def _progress(self, cluster: Cluster) -> str:
        """Blocking: how far it is."""
        counts: Counter[str] = Counter()
        for number in range(len(cluster.clients)):
            journal = cluster.brief.journal(number)
            if journal.exists():
                data = journal.read_bytes()
                counts["ended"] += data.count(b'["delivered"')
                counts["accepted"] += data.count(b'["accepted"')
        if counts["ended"] > self._ended:
            self._ended, self._moved = counts["ended"], time.monotonic()
        struck = Counter(one.fault for one in self._struck)
        what = ", ".join(f"{name} {count}" for name, count in sorted(struck.items())) or "nothing"
        seconds = time.monotonic() - self._began if self._began else 0.0
        return f"{seconds:5.0f} s: {counts['ended']} of {self._wish.jobs} ended; struck: {what}"

    # -- the end ----------------------------------------------------------------------------------

    async def _look(
        self, folder: Path, cluster: Cluster, left: Sequence[str], missed: int, began: float
    ) -> Result:
        verdict, tracebacks = await threads.deferToThread(self._judge, folder, cluster)
        result = Result(
            wish=attrs.evolve(self._wish, faults=self._chosen),
            verdict=verdict,
            skipped=self._skipped,
            missed=missed,
            untidy=[*cluster.deaths, *(f"left behind: {one}" for one in left)],
            tracebacks=tracebacks,
            seconds=time.monotonic() - began,
            folder=None,
        )
        kept = self._leave(folder, broken=not result.proved or bool(tracebacks))
        return attrs.evolve(result, folder=kept)

    def _judge(self, folder: Path, cluster: Cluster) -> tuple[Verdict, list[str]]:
        """Blocking: the whole history, and what was made of it."""
        events: list[history.Event] = [*self._struck, *self._found]
        notes = folder / "notes"
        for path in [path for path in notes.iterdir() if not path.name.startswith(FLAKY)]:
            events.extend(history.events_of(path.read_bytes()))
        notes.joinpath("engine").write_bytes(history.lines_of([*self._struck, *self._found]))
        logs = sorted(folder.joinpath("logs").iterdir())
        tracebacks = [log.name for log in logs if b"Traceback (most" in log.read_bytes()]
        return check(cluster.brief.plan(), events), tracebacks

    def _leave(self, folder: Path, broken: bool = True) -> Path | None:
        """Blocking, and short: what of the folder is kept."""
        if self._wish.keep is not None:
            shutil.copytree(folder, self._wish.keep, dirs_exist_ok=True, ignore=_PASSING)
        if self._wish.keep is not None or not broken:
            shutil.rmtree(folder, ignore_errors=True)
            return self._wish.keep
        return folder


_PASSING = shutil.ignore_patterns("tmp", "*.socket", "lock")


async def run(reactor: Any, wish: Wish, tell: Tell) -> Result:
    """Run what is wished for, and tell of it meanwhile."""
    return await Deferred.fromCoroutine(Engine(reactor, wish, tell).run())
