"""Where accepted jobs and outcomes are kept: what every store promises, and the one in memory.

A store takes batches of the scheduler's writes. It reads what it needs of the records before
``commit`` returns, for they change; what it answers is true once the commit is done. The bodies
and logs of outcomes are only here: the scheduler remembers how a job ended, not what it said.
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_bytes
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from ..protocol.ids import JobId
from .effects import JobsEnded, JobsForgotten, Write


class Stored(NamedTuple):
    """What is kept of a job's end: the packed outcome, and the packed log."""

    body: bytes
    log: bytes


class Store(Protocol):
    """A store, opened for one term. One commit at a time."""

    id: bytes
    """16 random bytes, made with the store: jobs' ids mean something within it only."""
    term: int
    """The number of this reign over the store, one more at every opening."""

    def commit(self, writes: Sequence[Write]) -> Deferred[None] | None:
        """Keep all of these writes or none; None where that is done already.

        Fails, and may be called again with the same writes, where they cannot be kept.
        """

    def outcomes(
        self, jobs: Sequence[JobId]
    ) -> list[Stored | None] | Deferred[list[Stored | None]]:
        """What is kept of these jobs, in their order; None for one that has not ended."""

    def close(self) -> Deferred[None] | None:
        """Let go of the store."""


class MemoryStore:
    """Keeps outcomes as long as the process lives."""

    def __init__(self) -> None:
        self.id = token_bytes(16)
        self.term = 1
        self._outcomes: dict[JobId, Stored] = {}

    def commit(self, writes: Sequence[Write]) -> None:
        """Keep the outcomes among the writes; the rest is in the scheduler's own records."""
        outcomes = self._outcomes
        for write in writes:
            if isinstance(write, JobsEnded):
                for job, body, log in write.outcomes:
                    outcomes[job.id] = Stored(body, log)
            elif isinstance(write, JobsForgotten):
                for number in write.jobs:
                    outcomes.pop(number, None)

    def outcomes(self, jobs: Sequence[JobId]) -> list[Stored | None]:
        """What is kept of these jobs."""
        return [self._outcomes.get(job) for job in jobs]

    def close(self) -> None:
        """Forget everything."""
        self._outcomes.clear()
