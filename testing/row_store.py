"""A durable store in memory, under a clock: it commits late, fills up, breaks, and survives.

A ``Disk`` outlives the process that writes to it, a ``RowStore`` is one opening of it. What a
crash leaves is what was committed, and of the commit that was under way all or nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..coordinator import effects
from ..coordinator.effects import Write
from ..coordinator.kept import (
    Found,
    KeptGroup,
    KeptJob,
    KeptSession,
    KeptWorker,
    Listing,
    Page,
    Question,
    Stored,
)
from ..coordinator.records import GroupRecord, JobRecord
from ..coordinator.store import StoreBroken, nothing_on_disk
from ..coordinator.transitions import ending_of
from ..protocol.errors import StorageFull
from ..protocol.ids import JobId
from .rows import Rows

T = TypeVar("T")
Change = Callable[[Rows], None]

ANSWERS = 128
"""Answers of a session that are kept."""


@attrs.define(eq=False)
class Disk:
    """What survives. ``full``: no commit succeeds; ``room``: submissions are to be refused;
    ``broken``: the next commit fails for good, like a failed fsync."""

    random: Random = attrs.field(factory=lambda: Random(0))
    seconds: tuple[float, float] = (0.0, 0.0)
    """The least and the most time of a commit or a read; 0, 0: done at once, without a clock."""
    id: bytes = b"disk of 16 bytes"
    term: int = 0
    rows: Rows = attrs.field(factory=Rows)
    full: bool = False
    room: str = ""
    broken: bool = False
    commits: int = 0

    def delay(self) -> float:
        """How long the next work takes."""
        return self.random.uniform(*self.seconds)


class RowStore:
    """``store.DurableStore``. One thing at a time, in order, as in the one thread of a writer."""

    durable = True

    def __init__(self, disk: Disk, clock: IReactorTime | None = None) -> None:
        disk.term += 1
        self.id, self.term = disk.id, disk.term
        self.remembered = disk.rows.remembered()
        self.broken = False
        self._disk = disk
        self._clock = clock if disk.seconds[1] > 0.0 else None
        self._waiting: deque[_Work] = deque()
        self._timer: IDelayedCall | None = None
        self._closed: Deferred[None] | None = None
        self._crashed = False

    # -- writing ----------------------------------------------------------------------------------

    def commit(self, writes: Sequence[Write]) -> Deferred[None] | None:
        """Keep all of these writes or none; see ``store.Store.commit``."""
        work = _Work(changes_of(writes))
        done: Deferred[None] = self._queue(work)
        return None if done.called and work.succeeded else done

    # -- reading ----------------------------------------------------------------------------------

    def read(self, question: Question) -> Found | Deferred[Found]:
        """What the scheduler asks for."""
        return self._at_once_or_later(lambda rows: rows.found(question))

    def outcomes(
        self, jobs: Sequence[JobId]
    ) -> list[Stored | None] | Deferred[list[Stored | None]]:
        """What is kept of these jobs' ends."""
        return self._at_once_or_later(lambda rows: [rows.outcomes.get(job) for job in jobs])

    def page(self, listing: Listing) -> Deferred[Page]:
        """Some of a client's jobs."""
        return self._later(lambda rows: rows.page(listing))

    def jobs(self, ids: Sequence[JobId]) -> Deferred[list[KeptJob]]:
        """What is kept of these jobs."""
        known = sorted(set(ids))
        return self._later(lambda rows: [rows.jobs[job] for job in known if job in rows.jobs])

    def backup(self, folder: Path) -> Deferred[dict[str, Any]]:
        """There is nothing on disk that could be copied."""
        return nothing_on_disk()

    def usage(self) -> dict[str, Any]:
        """As far as it makes sense."""
        return {"folder": "", "bytes": 0, "free": 0, "schema": 1, "commits": self._disk.commits}

    def room(self) -> str:
        """Why submissions are to be refused."""
        return self._disk.room

    def _at_once_or_later(self, read: Callable[[Rows], T]) -> T | Deferred[T]:
        if self._clock is None:
            return read(self._disk.rows)
        return self._later(read)

    def _later(self, read: Callable[[Rows], T]) -> Deferred[T]:
        return self._queue(_Work((), read))

    # -- one thing at a time ----------------------------------------------------------------------

    def _queue(self, work: _Work) -> Deferred[Any]:
        if self._crashed:
            return work.done  # nobody is there to be told
        if self.broken or self._closed is not None:
            return fail(StoreBroken("the store is closed, or an earlier write was not kept"))
        if self._clock is None:
            self._finish(work)
        else:
            self._waiting.append(work)
            self._go_on()
        return work.done

    def _go_on(self) -> None:
        if self._timer is None and self._waiting and self._clock is not None:
            self._timer = self._clock.callLater(self._disk.delay(), self._next)

    def _next(self) -> None:
        self._timer = None
        work = self._waiting.popleft()
        if self._waiting:
            self._go_on()  # before it is told, which may queue more, or crash
        self._finish(work)
        if not self._waiting and self._closed is not None and not self._closed.called:
            self._closed.callback(None)

    def _finish(self, work: _Work) -> None:
        disk = self._disk
        if work.read is not None:
            work.done.callback(work.read(disk.rows))
        elif disk.broken:
            disk.broken, self.broken = False, True
            if disk.random.random() < 0.5:  # nobody knows what a failed fsync has written
                work.apply(disk)
            work.done.errback(StoreBroken("a write was not kept"))
        elif disk.full:
            work.done.errback(StorageFull("there is no room on the disk"))
        else:
            work.apply(disk)
            work.succeeded = True
            work.done.callback(None)

    # -- the end ----------------------------------------------------------------------------------

    def close(self) -> Deferred[None] | None:
        """Fires when what was under way is done."""
        if not self._waiting:
            self._closed = succeed(None)
            return None
        self._closed = Deferred()
        return self._closed

    def crash(self) -> None:
        """The process is gone: the commit under way is kept or not, nothing else is."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        waiting, self._waiting = self._waiting, deque()
        self._crashed = True
        under_way = next(iter(waiting), None)
        disk = self._disk
        if under_way is not None and not disk.full and disk.random.random() < 0.5:
            under_way.apply(disk)


@attrs.define(eq=False)
class _Work:
    """A commit, or a read."""

    changes: Sequence[Change]
    read: Callable[[Rows], Any] | None = None
    done: Deferred[Any] = attrs.field(factory=Deferred)
    succeeded: bool = False

    def apply(self, disk: Disk) -> None:
        for change in self.changes:
            change(disk.rows)
        if self.changes:
            disk.rows.version += 1
            disk.commits += 1


# -- writes as changes of rows ---------------------------------------------------------------------


def changes_of(writes: Sequence[Write]) -> list[Change]:
    """What the writes change; the records are read now, for they change."""
    changes: list[Change] = []
    for write in writes:
        match write:
            case effects.JobsAdded(jobs):
                changes.append(_add(list(map(kept_job, jobs))))
            case effects.AttemptsMade(_, jobs) | effects.JobsChanged(jobs):
                changes.append(_put(list(map(kept_job, jobs))))
            case effects.JobsEnded(outcomes):
                changes.append(_put([kept_job(outcome.job) for outcome in outcomes]))
                changes.append(_end([_stored(outcome) for outcome in outcomes]))
            case effects.JobsTaken(ids):
                changes.append(_take(list(ids)))
            case effects.JobsForgotten(ids):
                changes.append(_forget(list(ids)))
            case effects.Hold(digests):
                changes.append(_count(list(digests), 1))
            case effects.Release(digests):
                changes.append(_count(list(digests), -1))
            case _:
                changes.append(_change_of_others(write))
    return changes


def _change_of_others(write: Write) -> Change:
    """Groups, sessions and workers."""
    match write:
        case effects.GroupSaved(group):
            return _save_group(_kept_group(group))
        case effects.SessionSaved(session, sequence, answer):
            kept = KeptSession(
                session.id, session.client.id, session.next_sequence, sorted(session.seen), {}
            )
            return _save_session(kept, sequence, answer)
        case effects.WorkerSaved(worker):
            row = KeptWorker(worker.name, worker.info, worker.local, worker.since)
            return lambda rows: rows.workers.update({row.name: row})
        case effects.GroupForgotten(group):
            number = group.id
            return lambda rows: _drop(rows.groups, number)
        case effects.SessionForgotten(session):
            identity = session.id
            return lambda rows: _drop(rows.sessions, identity)
        case effects.WorkerForgotten(worker):
            name = worker.name
            return lambda rows: _drop(rows.workers, name)
    raise TypeError(f"{write!r:.80} is no write")


def kept_job(job: JobRecord) -> KeptJob:
    """A record as a row."""
    deadline = job.spec.spec.deadline
    return KeptJob(
        id=job.id,
        client=job.client.id,
        session=job.owner,
        spec=job.spec.packed,
        payload=job.payload,
        key=job.key,
        group=None if job.group is None else job.group.id,
        place=job.place,
        submitted=job.submitted,
        state=job.state,
        attempt=job.attempt,
        worker=None if job.worker is None else job.worker.name,
        losses=job.losses,
        failures=job.failures,
        why=job.why,
        due=None if deadline is None else job.submitted + deadline,
        resume=job.resume,
        began=job.began,
        ended=job.ended,
        seconds=job.seconds,
        taken=job.taken,
        blobs=job.blobs,
        kept=job.kept,
        retried=job.retried,
        retry_of=job.retry_of,
        story=job.story,
    )


def _kept_group(group: GroupRecord) -> KeptGroup:
    return KeptGroup(
        id=group.id,
        client=group.client.id,
        session=group.session,
        own=group.own,
        name=group.name,
        size=group.size,
        submitted=group.submitted,
        counts=(),
        jobs=0,
        first=None,
        last=None,
    )


def _stored(outcome: effects.Outcome) -> tuple[JobId, Stored]:
    ending = ending_of(outcome.job.state)
    assert ending is not None, "a job that is said to have ended has not"
    return outcome.job.id, Stored(ending, outcome.body, outcome.log)


def _add(jobs: list[KeptJob]) -> Change:
    def change(rows: Rows) -> None:
        for job in jobs:
            assert job.id not in rows.jobs, f"job {job.id} is added twice"
            rows.jobs[job.id] = job
            rows.next_job = max(rows.next_job, job.id + 1)

    return change


def _put(jobs: list[KeptJob]) -> Change:
    def change(rows: Rows) -> None:
        for job in jobs:
            assert job.id in rows.jobs, f"job {job.id} is changed, and is not there"
            rows.jobs[job.id] = job

    return change


def _end(outcomes: list[tuple[JobId, Stored]]) -> Change:
    def change(rows: Rows) -> None:
        for job, stored in outcomes:
            assert job not in rows.outcomes, f"job {job} ends twice"
            rows.outcomes[job] = stored

    return change


def _take(jobs: list[JobId]) -> Change:
    def change(rows: Rows) -> None:
        for job in jobs:
            if job in rows.jobs:
                rows.jobs[job] = rows.jobs[job]._replace(taken=True)

    return change


def _forget(jobs: list[JobId]) -> Change:
    def change(rows: Rows) -> None:
        for job in jobs:
            _drop(rows.jobs, job)
            _drop(rows.outcomes, job)

    return change


def _count(digests: list[bytes], step: int) -> Change:
    def change(rows: Rows) -> None:
        for digest in digests:
            rows.blobs[digest] += step
            assert rows.blobs[digest] >= 0, "a blob is released that nothing refers to"
            if not rows.blobs[digest]:
                del rows.blobs[digest]

    return change


def _save_group(group: KeptGroup) -> Change:
    def change(rows: Rows) -> None:
        rows.groups[group.id] = group
        rows.next_group = max(rows.next_group, group.id + 1)

    return change


def _save_session(session: KeptSession, sequence: int, answer: Any) -> Change:
    def change(rows: Rows) -> None:
        before = rows.sessions.get(session.id)
        answers = {**(before.answers if before is not None else {}), sequence: answer}
        while len(answers) > ANSWERS:
            del answers[next(iter(answers))]
        rows.sessions[session.id] = session._replace(answers=answers)

    return change


def _drop(table: dict[Any, Any], key: Any) -> None:
    table.pop(key, None)
