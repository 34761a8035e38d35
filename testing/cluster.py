"""A whole cluster in one process and under a virtual clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from ..client.pool import Pool
from ..client.remote import RemoteLink, Target
from ..client.session import Session
from ..coordinator.settings import Settings
from ..coordinator.store import MemoryStore
from ..protocol.addresses import Address
from .doings import Doing
from .ground import Scratch
from .lending import Lending
from .lendingpool import LendingPool
from .machines import CoordinatorMachine, VirtualMachine, WorkerMachine
from .processes import token_of
from .programs import KitEngine, ProgramReactor, at_once
from .results import NotFired, ends_of
from .row_store import Disk, RowStore
from .rows import Rows
from .stage import Answer, Stage
from .timeline import Machine, Timeline
from .wire import Network

T = TypeVar("T")

PATIENCE = 3600.0
"""Virtual seconds for which ``wait`` waits."""

_COMMITS = (0.0005, 0.002)
"""Seconds of a commit."""


class VirtualCluster:
    """A coordinator, workers and the program under test, on machines of their own.

    Scheduler, protocol, agents and clients are the real ones; virtual are time, the network, the
    disk, and the children of the workers: jobs run in this process, and take the time that their
    ``plan`` gives them. Nothing happens before ``advance`` or ``wait``.

    ::

        cluster = VirtualCluster(workers=2)
        pool = cluster.pool()
        cluster.plan(render, Runs(seconds=60))
        job = pool.submit(render, 1)
        cluster.advance(30)
        cluster.workers[0].kill()
        picture = cluster.wait(job)

    With the same ``seed``, the same happens again, to the last byte of the network.
    """

    def __init__(
        self,
        *,
        workers: int = 2,
        slots: int = 1,
        durable: bool = True,
        seed: int = 0,
        pickling: bool = True,
        settings: Settings | None = None,
    ) -> None:
        """Of these:

        slots: of each worker.
        durable: whether the coordinator keeps its jobs on a disk, which outlives it.
        pickling: whether arguments and results travel as they do to another process; without it,
            a job gets the very objects, and functions may be mocks.
        settings: the coordinator's patience and bounds.
        """
        self.timeline = Timeline()
        self.network = Network(self.timeline, Random(f"network {seed}"))
        self.network.slices = 0.0
        self.random = Random(f"cluster {seed}")
        self.scratch = Scratch()
        self.lending = None if pickling else Lending()
        self.stage = Stage(self.scratch, self.lending)
        self.settings = settings or Settings()
        self.folder = self.scratch()
        self.door = self.folder / "door" / "coordinator.socket"
        self.door.parent.mkdir(mode=0o700)
        self.disk = Disk(Random(f"disk {seed}"), _COMMITS) if durable else None
        self.program = VirtualMachine(self, Machine(self.timeline, "client"))
        """The machine of the program under test."""
        self._reactor = ProgramReactor(self.program.machine, "client")
        self._reactor.connect = self.network.connect
        self.coordinator = CoordinatorMachine(self, Machine(self.timeline, "coordinator"))
        self.workers: list[WorkerMachine] = []
        self.coordinator.start()
        for _ in range(workers):
            self.add_worker(slots)
        self.advance(1.0)  # all have joined
        self._start = self.timeline.now

    # -- what there is ----------------------------------------------------------------------------

    @property
    def reactor(self) -> IReactorTime:
        """The clock of the program under test: ``callLater``, ``seconds``."""
        return self._reactor

    def pool(self, address: str | None = None, **options: Any) -> Pool:
        """A pool of the program under test, as ``Pool.connect`` gives one; of its options,
        ``wait`` and ``patience`` count here."""
        wait, patience = options.get("wait", 5.0), options.get("patience")
        target = Target(Address(path=self.door), token_of("client", "client"))

        def make_link(reactor: Any) -> Any:
            link = _Link(reactor, target, wait, patience)
            link.owner = self.scratch
            link._random = self.random  # type: ignore[assignment]  # not the system's
            return link

        return ClusterPool.on(KitEngine(make_link, self._reactor, self))

    connect = pool
    """To stand in for ``Pool.connect``."""

    def add_worker(self, slots: int = 1) -> WorkerMachine:
        """One more, which joins from now on."""
        name = f"worker-{len(self.workers) + 1}"
        worker = WorkerMachine(self, Machine(self.timeline, name), slots)
        self.workers.append(worker)
        worker.start()
        return worker

    def open_store(self, process: Any) -> Any:
        """The store of a coordinator that starts."""
        return MemoryStore() if self.disk is None else RowStore(self.disk, process)

    def lose_disk(self) -> None:
        """All that is stored is gone, and the store is another one from its next start on: who
        waits for jobs of the old one gets ``CoordinatorLost``. Kill the coordinator before."""
        if self.disk is not None:
            self.disk.rows, self.disk.term = Rows(), 0
            self.disk.id = self.random.randbytes(16)

    # -- what happens -----------------------------------------------------------------------------

    def plan(self, function: Callable[..., Any], *doings: Doing | Answer) -> None:
        """What the jobs of a function do from here on: the first execution of each the first of
        these, and so on, the last one again and again. A single function in their place is asked
        each time, with the job's arguments."""
        self.stage.plan(function, doings)

    def advance(self, seconds: float) -> None:
        """Let virtual time pass. What a call of the program raises meanwhile comes out here."""
        self.timeline.run_until(self.timeline.now + seconds)

    def wait(self, awaitable: Awaitable[T] | Deferred[T], seconds: float = PATIENCE) -> T:
        """Let time pass until a job, a group, a Deferred or a coroutine has its result.

        Raises:
            Exception: the error that it has ended with.
            NotFired: it has no result after so many virtual seconds.
        """
        ends = ends_of(awaitable)
        until = self.timeline.now + seconds
        while not ends:
            due = self.timeline.next_due()
            if due is None or due > until:
                raise NotFired(f"no result of {awaitable!r:.200} within {seconds:g} virtual s")
            self.timeline.run_until(due)
        if isinstance(ends[0], Failure):
            ends[0].raiseException()
        value: T = ends[0]
        return value

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.timeline.now - self._start


class ClusterPool(LendingPool):
    """A pool over a virtual cluster."""


class _Link(RemoteLink):
    """It does without threads."""

    owner: Scratch

    def open(self, session: Session) -> Deferred[None]:
        at_once(session, self.owner)
        return super().open(session)
