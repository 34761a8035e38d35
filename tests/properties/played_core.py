"""A scheduler over a store, as the driver runs them, but each step is taken when a test says so.

Effects gather until ``commit``; questions to the store are read one at a time after everything
before them is committed, and answered later, so that events can come between. What is gathered is
lost by a crash.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import pytest
from ampacity.coordinator import (
    cancelling,
    deliveries,
    effects,
    events,
    leases,
    queues,
    retention,
    state,
    successes,
)
from ampacity.coordinator.kept import Found
from ampacity.coordinator.scheduler import Scheduler
from ampacity.coordinator.settings import Settings
from ampacity.coordinator.store import MemoryStore
from ampacity.coordinator.stories import kept_of
from ampacity.coordinator.transitions import QUEUED
from ampacity.testing.row_store import Disk, RowStore

WRITES = frozenset(get_args(effects.Write))


@contextmanager
def small_bounds() -> Iterator[None]:
    """Few jobs are enough for cold queues, full outboxes and work in slices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queues, "HOT", 4)
        patch.setattr(queues, "WARM", 8)
        patch.setattr(queues, "SHORT", 2)
        patch.setattr(queues, "PAGE", 3)
        patch.setattr(deliveries, "OUTBOX", 6)
        patch.setattr(successes, "OUTBOX", 6)
        patch.setattr(deliveries, "PAGE", 3)
        patch.setattr(retention, "FORGET_AT_ONCE", 3)
        for module in (state, cancelling, leases):
            patch.setattr(module, "SLICE", 3)
        yield


class PlayedCore:
    """One reign of a coordinator. ``disk``: what survives it; None: it is in memory only."""

    def __init__(
        self,
        settings: Settings,
        disk: Disk | None,
        told: Callable[[Any], None],
        committed: Callable[[Sequence[Any]], None],
    ) -> None:
        self.disk = disk
        self.store: Any = MemoryStore() if disk is None else RowStore(disk)
        self.scheduler = Scheduler(settings, self.store.term, self.store.durable)
        self.lazy = False
        """Whether commits wait until somebody asks for one."""
        self.more = False
        self.writes: list[Any] = []
        self.tells: list[Any] = []
        self.waiting: list[Callable[[], None]] = []
        """Called with the next commit."""
        self.loads: deque[effects.Load] = deque()
        self.read: tuple[int, Found] | None = None
        """An answer of the store that the scheduler has not been given."""
        self._told = told
        self._committed = committed

    def restore(self, at: events.Moment) -> None:
        """Take up what an earlier reign has left."""
        if self.disk is not None:
            self.handle(events.Restored(at, self.store.remembered))

    # -- events and commits -----------------------------------------------------------------------

    def handle(self, event: events.Event) -> list[Any]:
        done = self.scheduler.handle(event)
        told = False
        for effect in done:
            write = type(effect) in WRITES
            assert not (told and write), "a write after something that was told"
            told = told or not write
            (self.writes if write else self.tells).append(effect)
        self.scheduler.check_invariants()
        if not self.lazy:
            self.commit()
        return done

    def commit(self) -> None:
        writes, self.writes = self.writes, []
        tells, self.tells = self.tells, []
        waiting, self.waiting = self.waiting, []
        self._committed(writes)
        self.store.commit(writes)
        for done in waiting:
            done()
        for effect in tells:
            if isinstance(effect, effects.Load):
                self.loads.append(effect)
            elif isinstance(effect, effects.MoreToDo):
                self.more = True
            else:
                self._told(effect)

    # -- long work --------------------------------------------------------------------------------

    def read_next(self) -> bool:
        """Have the store read the next question; the scheduler is not told yet."""
        if self.read is not None or not self.loads:
            return False
        self.commit()
        load = self.loads.popleft()
        self.read = load.task, self.store.read(load.question)
        return True

    def answer(self, at: events.Moment, fails: bool = False) -> bool:
        """Tell the scheduler what was read."""
        if self.read is None:
            return False
        (task, found), self.read = self.read, None
        self.handle(events.Loaded(at, task, None if fails else found))
        return True

    def go_on(self, at: events.Moment) -> bool:
        """One slice of what was announced."""
        more, self.more = self.more, False
        if more:
            self.handle(events.Continue(at))
        return more

    def settle(self, at: events.Moment) -> None:
        """Everything that is due without time passing."""
        for _ in range(10_000):
            self.commit()
            if not (self.read_next() or self.answer(at) or self.go_on(at)):
                return
        raise AssertionError("it does not come to rest")

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way between the scheduler and its store."""
        return not (self.writes or self.tells or self.loads or self.read or self.more)

    # -- the records and the rows -----------------------------------------------------------------

    def check_rows(self) -> None:
        """What is stored is what the scheduler knows, and what it counts."""
        if self.disk is None or self.writes:
            return
        rows, known = self.disk.rows, self.scheduler.state
        there = rows.remembered()
        for job in known.jobs.values():
            assert kept_of(job) == rows.jobs.get(job.id), "a change that is not stored"
        assert list(there.counts) == known.counts
        assert there.jobs == {c.id: c.jobs for c in known.clients.values() if c.jobs}
        assert there.pending_bytes == known.pending_bytes
        kept = self.scheduler.retention
        assert there.taken == (kept.taken.jobs, kept.taken.bytes)
        assert there.untaken == (kept.untaken.jobs, kept.untaken.bytes)
        assert {worker.name for worker in there.workers} >= known.workers.keys()
        assert {group.id for group in there.groups} == known.groups.keys()
        for group in there.groups:
            assert group.jobs == known.groups[group.id].jobs
        if self.quiet and not known.loading and not known.tasks:
            self._check_queued()

    def _check_queued(self) -> None:
        """Every waiting job is in the head of its queue or in its tail."""
        assert self.disk is not None
        known = self.scheduler.state
        tails: set[int] = set()
        for client in known.clients.values():
            for queue in client.queues.values():
                assert not queue.warming
                tails.update(n for first, count in queue.tail for n in range(first, first + count))
        for job in self.disk.rows.jobs.values():
            if job.state == QUEUED:
                assert (job.id in known.jobs) != (job.id in tails), f"job {job.id} waits nowhere"
