"""Many jobs of every kind, while processes are killed, connections cut and jobs cancelled.

Every job has one end, of a kind that it may have; and when it is over, nothing runs any more.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import psutil
import pytest_twisted
from ampacity import JobCancelled, JobCrashed, JobTimedOut
from ampacity.cli.connection import Link
from ampacity.protocol.ids import JobId
from ampacity.protocol.jobs import JobSpec, pack_spec
from ampacity.protocol.outcomes import Ending
from ampacity.protocol.packing import pack_arguments
from twisted.internet import reactor as _reactor
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.protocols import portforward
from twisted.python.failure import Failure

reactor: Any = _reactor

SEED = int(os.environ.get("STORM_SEED", "7"))
JOBS = 2000
STORM_SECONDS = 6.0
"""For which processes are killed and connections cut."""


# -- the jobs --------------------------------------------------------------------------------------


def spin() -> None:
    while True:
        pass


def large(size: int) -> bytes:
    return b"x" * size


def prints(count: int) -> int:
    for number in range(count):
        print("line", number)
    return count


def fails() -> None:
    raise LookupError("as it shall")


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exits() -> None:
    os._exit(0)


@attrs.frozen
class Kind:
    """What is submitted, how often in a hundred, and how it ends unless something befalls it."""

    share: float
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    ends: Any
    """The value, or the type of the error."""
    options: dict[str, Any] = attrs.field(factory=dict)


KINDS = [
    Kind(70.0, math.factorial, (3,), 6),
    Kind(10.0, time.sleep, (0.05,), None),
    Kind(0.4, spin, (), JobTimedOut, {"timeout": 0.2}),
    Kind(0.15, exits, (), JobCrashed),
    Kind(0.15, kill_itself, (), JobCrashed),
    Kind(3.0, large, (300_000,), b"x" * 300_000),
    Kind(7.6, prints, (50,), 50),
    Kind(8.0, fails, (), LookupError),
]
COMMANDS = 60
COMMAND = pack_spec(JobSpec(kind="command", target="sh", arguments="json", attach=True))


class Ends:
    """How often each job has ended, and what was wrong with its end."""

    def __init__(self) -> None:
        self.of: Counter[int] = Counter()
        self.kinds: Counter[str] = Counter()
        self.wrong: list[str] = []

    def came(self, result: Any, number: int, kind: Kind) -> None:
        self.of[number] += 1
        error = result.value if isinstance(result, Failure) else None
        self.kinds[type(error).__name__] += 1
        if error is None:
            good = not isinstance(kind.ends, type) and result == kind.ends
        else:
            good = type(error) is kind.ends or isinstance(error, JobCancelled | JobCrashed)
        if not good:
            self.wrong.append(f"{number} {kind.function.__name__}: {result!r:.300}")


@attrs.define(eq=False)
class Command:
    """A command on its way; implements ``client.frames.Entry``."""

    ends: Ends
    number: int
    id: JobId | None = None
    frame: Any = None

    def was_accepted(self, job: JobId) -> None:
        self.id = job

    def has_ended(self, ending: Ending, body: bytes) -> None:
        self.ends.of[self.number] += 1
        self.ends.kinds[f"command {ending.words}"] += 1
        if ending not in (Ending.SUCCEEDED, Ending.CANCELLED, Ending.CRASHED):
            self.ends.wrong.append(f"{self.number}: a command {ending.words}")

    def has_failed(self, error: Exception) -> None:
        self.ends.of[self.number] += 1
        self.ends.wrong.append(f"{self.number}: {error!r}")


# -- the weather -----------------------------------------------------------------------------------


class Passage(portforward.ProxyServer):
    """A connection of an agent through the proxy."""

    factory: Any
    transport: Any

    def connectionMade(self) -> None:
        self.factory.passages.add(self)
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.passages.discard(self)
        super().connectionLost(reason)


class Proxy(portforward.ProxyFactory):
    """Between the agents and the coordinator: connections through it can be cut."""

    protocol = Passage
    noisy = False

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.passages: set[Passage] = set()

    def cut(self, chance: random.Random) -> None:
        if self.passages:
            passage = chance.choice(sorted(self.passages, key=id))
            passage.transport.abortConnection()


class Storm:
    """What befalls the cluster, one thing at a time."""

    def __init__(self, cluster: Any, pool: Any, proxy: Proxy, line: str, jobs: list[Any]) -> None:
        self.agents: list[Any] = []
        self.done: Counter[str] = Counter()
        self._cluster = cluster
        self._pool = pool
        self._proxy = proxy
        self._line = line
        self._jobs = jobs
        self._chance = random.Random(SEED)
        self._names = iter(range(1, 100))
        self._kills = 2

    async def add_agent(self) -> None:
        name = f"w{next(self._names)}"
        self.agents.append(await self._cluster.worker(name, slots=2, line=self._line))

    async def strike(self) -> None:
        what = self._chance.choices(
            [self.kill_child, self.kill_agent, self.cut_agent, self.cut_client, self.cancel],
            [3, 1, 2, 2, 6],
        )[0]
        self.done[what.__name__] += 1
        await what()

    async def kill_child(self) -> None:
        children = [c for agent in self.agents for c in agent.children()]
        for child in self._chance.sample(children, min(1, len(children))):
            with contextlib.suppress(psutil.Error):
                child.kill()

    async def kill_agent(self) -> None:
        if self._kills:
            self._kills -= 1
            agent = self.agents.pop(0)
            agent.send(signal.SIGKILL)
            await agent.ended
            await self.add_agent()

    async def cut_agent(self) -> None:
        self._proxy.cut(self._chance)

    async def cut_client(self) -> None:
        link = self._pool._engine._link._coordinator
        if link is not None:
            link.connection.abort()

    async def cancel(self) -> None:
        for job in self._chance.sample(self._jobs, 5):
            job.cancel().addErrback(lambda _: None)


def submit(pool: Any, ends: Ends) -> list[Any]:
    """All the jobs, mixed; a command among them now and then."""
    chance = random.Random(SEED)
    jobs = []
    for number in range(JOBS):
        kind = chance.choices(KINDS, [kind.share for kind in KINDS])[0]
        job = pool.options(**kind.options).submit(kind.function, *kind.arguments)
        job.result().addBoth(ends.came, number, kind)
        jobs.append(job)
    session = pool._engine.session()
    payload = pack_arguments(["sh", "-c", "echo $AMPACITY_JOB_ID"])
    for number in range(JOBS, JOBS + COMMANDS):
        session.submit(Command(ends, number), COMMAND, payload)
    return jobs


@pytest_twisted.ensureDeferred
async def test_storm(cluster: Any, until: Any) -> None:
    await cluster.start(lease=1.0)
    address, _, token = cluster.lines["worker"].partition("#")
    proxy = Proxy("127.0.0.1", int(address.rpartition(":")[2]))
    port = reactor.listenTCP(0, proxy, interface="127.0.0.1")
    line = f"127.0.0.1:{port.getHost().port}#{token}"
    pool = cluster.pool()
    ends = Ends()
    jobs = submit(pool, ends)
    storm = Storm(cluster, pool, proxy, line, jobs)
    await storm.add_agent()
    await storm.add_agent()
    over = reactor.seconds() + STORM_SECONDS
    while reactor.seconds() < over:
        await deferLater(reactor, 0.15)
        await storm.strike()
    try:
        await until(lambda: len(ends.of) == JOBS + COMMANDS, seconds=60.0)
    finally:
        print(SEED, dict(storm.done), dict(ends.kinds))
        for process in cluster.processes:
            print(process._log, process.log()[-6000:])
    assert set(ends.of.values()) == {1}
    assert not ends.wrong
    await nothing_runs(cluster, storm, pool, until)
    for process in cluster.processes:
        assert "Traceback" not in process.log(), process.log()
    await port.stopListening()


async def nothing_runs(cluster: Any, storm: Storm, pool: Any, until: Any) -> None:
    """The coordinator knows nothing unfinished, and says so of itself; nobody is busy."""
    link = Link(pool._engine.session())
    status = await link.query("status")
    assert [status[name] for name in ("queued", "sent", "running", "busy")] == [0] * 4
    assert sum(status["ended"].values()) == status["submitted"] == JOBS + COMMANDS

    async def idle() -> bool:
        workers = await link.query("workers")
        away = [w for w in workers if w["state"] == "away"]
        return not away and not any(w["held"] or w["running"] for w in workers)

    await until(idle)
    cluster.coordinator.send(signal.SIGUSR1)
    assert (await cluster.coordinator.says())["invariants"] == ""
    for agent in storm.agents:  # two children each, and the guard
        await until(lambda agent=agent: len(agent.children()) == 3)
    used = [cpu(cluster.coordinator), *map(cpu, storm.agents)]
    await deferLater(storm._pool._engine.reactor, 1.0)
    spent = [
        now - before
        for now, before in zip(
            [cpu(cluster.coordinator), *map(cpu, storm.agents)], used, strict=True
        )
    ]
    assert max(spent) < 0.1, spent


def cpu(process: Any) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system
