"""Where accepted jobs and outcomes are kept: what every store promises, and the one in memory.

A store takes batches of the scheduler's writes. It reads what it needs of the records before
``commit`` returns, for they change; what it answers is true once the commit is done. A store that
is ``durable`` keeps whole jobs, so that the scheduler may let go of those that are cold, and gives
them back; of the others only the ends are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from secrets import token_bytes
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail

from ..protocol.errors import StoreRefused
from ..protocol.ids import JobId, SessionId
from .effects import JobsEnded, JobsForgotten, JobsTaken, SessionForgotten, Write
from .kept import Backlog, Found, KeptJob, Listing, Oldest, Page, Question, Remembered, Stored
from .transitions import ending_of


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
        """Some of a client's jobs; looks at a bounded number of them at a time."""

    def jobs(self, ids: Sequence[JobId]) -> Deferred[list[KeptJob]]:
        """What is kept of these jobs, to be shown; those that are known, by ascending ids."""

    def backup(self, folder: Path) -> Deferred[dict[str, Any]]:
        """Copy store and values into a new folder, see ``ports.Coordinator.backup``."""

    def usage(self) -> dict[str, Any]:
        """``folder``, ``bytes``, ``free``, ``schema``, ``commits``, for ``status``."""


class MemoryStore:
    """Keeps outcomes as long as the process lives."""

    durable = False

    def __init__(self) -> None:
        self.id = token_bytes(16)
        self.term = 1
        self._outcomes: dict[JobId, Stored] = {}
        self._untaken: dict[JobId, SessionId | None] = {}
        self._taken: dict[JobId, None] = {}
        self._backlogs: dict[SessionId, dict[JobId, None]] = {}

    def commit(self, writes: Sequence[Write]) -> None:
        """Keep the outcomes among the writes; the rest is in the scheduler's own records."""
        for write in writes:
            if isinstance(write, JobsEnded):
                self._end(write)
            elif isinstance(write, JobsTaken):
                for number in write.jobs:
                    self._take(number)
            elif isinstance(write, JobsForgotten):
                for number in write.jobs:
                    self._forget(number)
            elif isinstance(write, SessionForgotten):
                self._backlogs.pop(write.session.id, None)

    def _end(self, write: JobsEnded) -> None:
        for job, body, log in write.outcomes:
            ending = ending_of(job.state)
            assert ending is not None
            self._outcomes[job.id] = Stored(ending, body, log)
            self._untaken[job.id] = job.owner
            if job.owner is not None:
                self._backlogs.setdefault(job.owner, {})[job.id] = None

    def _take(self, number: JobId) -> None:
        if number in self._untaken:
            self._leave_backlog(number)
            self._taken[number] = None

    def _forget(self, number: JobId) -> None:
        self._outcomes.pop(number, None)
        self._taken.pop(number, None)
        self._leave_backlog(number)

    def _leave_backlog(self, number: JobId) -> None:
        owner = self._untaken.pop(number, None)
        backlog = self._backlogs.get(owner) if owner is not None else None
        if backlog is not None and owner is not None:
            backlog.pop(number, None)
            if not backlog:
                del self._backlogs[owner]

    def read(self, question: Question) -> Found:
        """The ids of ended jobs; the scheduler has their records."""
        if isinstance(question, Oldest):
            return Found(list(islice(self._taken if question.taken else self._untaken, question.limit)))
        if isinstance(question, Backlog):
            waiting = self._backlogs.get(question.session, {})
            ids = sorted(number for number in waiting if number > question.after)
            return Found(ids[: question.limit])
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


def nothing_on_disk() -> Deferred[Any]:
    """What asks for files fails where the store is in memory."""
    return fail(StoreRefused("this coordinator keeps its jobs in memory only (--ephemeral)"))
