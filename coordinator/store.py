"""Where accepted jobs and outcomes are kept: what every store promises, and the one in memory.

A store takes batches of the scheduler's writes. It reads what it needs of the records before
``commit`` returns, for they change; what it answers is true once the commit is done. A store that
is ``durable`` keeps whole jobs, so that the scheduler may let go of those that are cold, and gives
them back; of the others only the ends are here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby, islice, repeat
from pathlib import Path
from secrets import token_bytes
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail

from ..protocol.columns import tuples
from ..protocol.errors import StoreRefused
from ..protocol.ids import JobId, SessionId
from .effects import JobsAdded, JobsEnded, JobsForgotten, JobsTaken, Write
from .filed import Filed
from .kept import (
    Backlog,
    Found,
    KeptJob,
    Listing,
    Oldest,
    Orphans,
    Page,
    Question,
    Remembered,
    Stored,
)
from .transitions import ENDED, ending_of


class StoreBroken(Exception):
    """The disk did not keep what it was given: nothing can be relied upon before a new start."""


class Store(Protocol):
    """A store, opened for one term. Commits, one at a time, and reads are done in their order."""

    id: bytes
    """16 random bytes, made with the store: jobs' ids mean something within it only."""
    term: int
    """The number of this reign over the store, one more at every opening."""
    durable: bool
    """Whether it keeps whole jobs, and can give them back."""

    def commit(self, writes: Sequence[Write]) -> Deferred[None] | None:
        """Keep all of these writes or none; None where that is done already.

        Fails with ``StorageFull``, and may be called again with the same writes and more, where
        there is no room for them; with ``StoreBroken`` where the coordinator must stop.
        """

    def read(self, question: Question) -> Found | Deferred[Found]:
        """What the scheduler asks for."""

    def outcomes(
        self, jobs: Sequence[JobId]
    ) -> list[Stored | None] | Deferred[list[Stored | None]]:
        """What is kept of these jobs' ends, in their order; None for one that has not ended."""

    def room(self) -> str:
        """Why submissions are to be refused, in a sentence: the disk is nearly full. Or nothing."""

    def close(self) -> Deferred[None] | None:
        """Let go of the store."""


class DurableStore(Store, Protocol):
    """A store on disk."""

    remembered: Remembered
    """What it held when it was opened."""

    def page(self, listing: Listing) -> Deferred[Page]:
        """Some jobs of one client, or of all; looks at a bounded number of them at a time."""

    def jobs(self, ids: Sequence[JobId]) -> Deferred[list[KeptJob]]:
        """What is kept of these jobs, to be shown; those that are known, by ascending ids."""

    def backup(self, folder: Path) -> Deferred[dict[str, Any]]:
        """Copy store and values into a new folder, see ``ports.Coordinator.backup``."""

    def usage(self) -> dict[str, Any]:
        """``folder``, ``bytes``, ``free``, ``schema``, ``commits``, for ``status``."""


class MemoryStore:
    """Keeps outcomes as long as the process lives; the jobs are in the scheduler's records."""

    durable = False

    def __init__(self) -> None:
        self.id = token_bytes(16)
        self.term = 1
        self._outcomes: dict[JobId, Stored] = {}
        self._untaken: dict[JobId, SessionId | None] = {}
        self._taken: dict[JobId, None] = {}
        self._backlogs: dict[SessionId, Filed] = {}
        self._orphans: dict[SessionId, Filed] = {}
        self._keepers: dict[type, Callable[[Any], None]] = {
            JobsAdded: self._add,
            JobsEnded: self._end,
            JobsTaken: self._take,
            JobsForgotten: self._forget,
        }

    def commit(self, writes: Sequence[Write]) -> None:
        """Keep the outcomes among the writes; the rest is in the scheduler's own records."""
        for write in writes:
            keep = self._keepers.get(type(write))
            if keep is not None:
                keep(write)

    def _add(self, write: JobsAdded) -> None:
        for job in write.jobs:
            if job.owner is not None and job.spec.spec.orphans == "cancel" and job.state < ENDED:
                _of(self._orphans, job.owner).add(job.id)

    def _end(self, write: JobsEnded) -> None:
        ended = write.outcomes
        numbers = [job.id for job, _, _ in ended]
        owners = [job.owner for job, _, _ in ended]
        endings = [ending_of(job.state) for job, _, _ in ended]
        assert None not in endings
        bodies, logs = [body for _, body, _ in ended], [log for _, _, log in ended]
        self._outcomes.update(zip(numbers, tuples(Stored, endings, bodies, logs), strict=True))
        self._untaken.update(zip(numbers, owners, strict=True))
        start = 0
        for owner, alike in groupby(owners):
            count = len(list(alike))
            if owner is not None:
                self._end_of(owner, numbers[start : start + count])
            start += count

    def _end_of(self, owner: SessionId, jobs: list[JobId]) -> None:
        """Jobs of one session have ended."""
        _of(self._backlogs, owner).add_all(jobs)
        if self._orphans:
            for number in jobs:
                _leave(self._orphans, owner, number)

    def _take(self, write: JobsTaken) -> None:
        taken = [number for number in write.jobs if number in self._untaken]
        self._leave_backlogs(taken)
        self._taken.update(dict.fromkeys(taken))

    def _forget(self, write: JobsForgotten) -> None:
        for number in write.jobs:
            self._outcomes.pop(number, None)
            self._taken.pop(number, None)
        self._leave_backlogs(write.jobs)

    def _leave_backlogs(self, jobs: Sequence[JobId]) -> None:
        last: SessionId | None = None
        backlog: Filed | None = None
        for number, owner in zip(jobs, map(self._untaken.pop, jobs, repeat(None)), strict=True):
            if owner is not last:
                last, backlog = owner, None if owner is None else self._backlogs.get(owner)
            if owner is None or backlog is None:
                continue
            backlog.jobs.pop(number, None)
            if not backlog.jobs:
                del self._backlogs[owner]
                backlog = None

    def read(self, question: Question) -> Found:
        """Ids only: the scheduler has the records."""
        match question:
            case Oldest(taken, limit):
                return Found(list(islice(self._taken if taken else self._untaken, limit)))
            case Backlog(session, after, limit):
                return _page(self._backlogs.get(session), after, limit)
            case Orphans(session, after, limit):
                return _page(self._orphans.get(session), after, limit)
        return Found(())

    def outcomes(self, jobs: Sequence[JobId]) -> list[Stored | None]:
        """What is kept of these jobs."""
        return [self._outcomes.get(job) for job in jobs]

    def room(self) -> str:
        """There is room as long as the bounds on jobs and bytes are kept."""
        return ""

    def close(self) -> None:
        """Forget everything."""
        self._outcomes.clear()


def _of(sessions: dict[SessionId, Filed], session: SessionId) -> Filed:
    filed = sessions.get(session)
    if filed is None:
        filed = sessions[session] = Filed()
    return filed


def _leave(sessions: dict[SessionId, Filed], session: SessionId, job: JobId) -> None:
    filed = sessions.get(session)
    if filed is not None:
        filed.jobs.pop(job, None)
        if not filed.jobs:
            del sessions[session]


def _page(filed: Filed | None, after: JobId, limit: int) -> Found:
    return Found(()) if filed is None else Found(filed.above(after, limit))


def nothing_on_disk() -> Deferred[Any]:
    """What asks for files fails where the store is in memory."""
    return fail(StoreRefused("this coordinator keeps its jobs in memory only (--ephemeral)"))
