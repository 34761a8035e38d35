"""The stores of a virtual cluster: what outlives a coordinator, and what does not."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from ampacity.coordinator.effects import Write
from ampacity.coordinator.store import MemoryStore, StoreBroken
from ampacity.coordinator.transitions import ENDED
from ampacity.protocol.errors import StorageFull
from ampacity.testing.row_store import Disk, RowStore
from ampacity.testing.timeline import Process
from twisted.internet.defer import Deferred

from .history import Ticket
from .schedule import Plan


class LateStore(MemoryStore):
    """In memory, but with commits that take their time, as those of a disk do."""

    def __init__(self, process: Process, random: Random, seconds: tuple[float, float]) -> None:
        super().__init__()
        self._process = process
        self._random = random
        self._seconds = seconds

    def commit(self, writes: Sequence[Write]) -> Deferred[None] | None:  # type: ignore[override]
        super().commit(writes)
        if self._seconds[1] <= 0.0:
            return None
        done: Deferred[None] = Deferred()
        self._process.callLater(self._random.uniform(*self._seconds), done.callback, None)
        return done


class InMemory:
    """The coordinator of such a cluster lives as long as the cluster."""

    def __init__(self, seed: int, made: Plan) -> None:
        self._random = Random(f"store {seed}")
        self._seconds = made.commit_seconds

    def open(self, process: Process) -> Any:
        """The store of a coordinator that starts."""
        return LateStore(process, self._random, self._seconds)

    def expects(self, failure: Any) -> bool:
        """Whether a failure in the log belongs to the faults of the disk."""
        return False

    def fill(self) -> None:
        """The disk is full from here on."""

    def make_room(self) -> None:
        """It is not full any more."""

    def break_down(self) -> None:
        """The next commit fails for good."""

    def accepted(self, ticket: Ticket) -> str:
        """What is wrong with the promise that a submitter was just given; or nothing."""
        return ""

    def told(self, ticket: Ticket) -> str:
        """The same of an outcome."""
        return ""

    def left(self, driver: Any) -> list[str]:
        """What is wrong with what is kept in the end."""
        return []


class OnDisk(InMemory):
    """A disk that outlives any coordinator. What a submitter was promised has to be on it."""

    def __init__(self, seed: int, made: Plan) -> None:
        super().__init__(seed, made)
        self.disk = Disk(self._random, self._seconds)

    def open(self, process: Process) -> RowStore:
        return RowStore(self.disk, process)

    def expects(self, failure: Any) -> bool:
        return bool(failure.check(StorageFull, StoreBroken))

    def fill(self) -> None:
        self.disk.full = True

    def make_room(self) -> None:
        self.disk.full = False

    def break_down(self) -> None:
        self.disk.broken = True

    def accepted(self, ticket: Ticket) -> str:
        return "" if ticket.id in self.disk.rows.jobs else f"job {ticket.id} is not on the disk"

    def told(self, ticket: Ticket) -> str:
        if ticket.id is None or ticket.ending is None:
            return ""
        stored = self.disk.rows.outcomes.get(ticket.id)
        if stored is None or (stored.ending, stored.body) != (ticket.ending, ticket.body):
            return f"the outcome of job {ticket.id} that was told is not the one on the disk"
        return ""

    def left(self, driver: Any) -> list[str]:
        rows, wrong = self.disk.rows, []
        open_jobs = [job.id for job in rows.jobs.values() if job.state < ENDED]
        if open_jobs:
            wrong.append(f"on the disk, jobs are left: {open_jobs}")
        bare = [number for number in rows.jobs if number not in rows.outcomes]
        if bare and not open_jobs:
            wrong.append(f"ended jobs without an outcome: {bare}")
        counts, there = list(driver.scheduler.state.counts), list(rows.remembered().counts)
        if counts != there:
            wrong.append(f"the coordinator counts {counts}, on the disk are {there}")
        known = driver.scheduler.state.workers
        if rows.workers.keys() != known.keys():
            wrong.append(f"workers on the disk {list(rows.workers)}, known {list(known)}")
        return wrong
