"""What a cluster owes its clients, kept by somebody who sees the commits and what is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ampacity.coordinator import effects
from ampacity.protocol.ids import Attempt, JobId
from ampacity.protocol.outcomes import Ending

Key = tuple[JobId, Attempt]
REPORTED = frozenset({Ending.SUCCEEDED, Ending.FAILED})


def body_of(key: Key) -> bytes:
    """What a worker reports of an attempt that succeeded or failed."""
    job, attempt = key
    return f"{job} {attempt.term}.{attempt.number}".encode()


class Account:
    """Lost, delivered twice, stale accepted: none, at any time."""

    def __init__(self) -> None:
        self.accepted: dict[JobId, bytes | None] = {}
        """Stored jobs, and the session that each belongs to."""
        self.payloads: set[Any] = set()
        self.ended: Counter[JobId] = Counter()
        self.forgotten: set[JobId] = set()
        self.given: set[Key] = set()
        self.last: dict[JobId, Attempt] = {}
        self.sessions_forgotten: set[bytes] = set()

    def committed(self, writes: Sequence[Any]) -> None:
        """These are true from now on, in this order."""
        for write in writes:
            match write:
                case effects.JobsAdded(jobs):
                    self._added(jobs)
                case effects.AttemptsMade(_, jobs):
                    for job in jobs:
                        self._made(job)
                case effects.JobsEnded(outcomes):
                    for outcome in outcomes:
                        self._ended(outcome)
                case effects.JobsForgotten(jobs):
                    assert all(self.ended[job] == 1 for job in jobs), "forgotten before its end"
                    assert not self.forgotten & set(jobs), "forgotten twice"
                    self.forgotten.update(jobs)
                case effects.SessionForgotten(session):
                    self.sessions_forgotten.add(session.id)

    def _added(self, jobs: Sequence[Any]) -> None:
        for job in jobs:
            assert job.id not in self.accepted, "an id is used twice"
            self.accepted[job.id] = job.owner
            if job.retry_of is None:
                assert job.payload not in self.payloads, "a frame was accepted twice"
                self.payloads.add(job.payload)

    def _made(self, job: Any) -> None:
        # a batch tells of each attempt; the record has the last of them
        last = self.last.get(job.id)
        assert last is None or job.attempt >= last, "an attempt of long ago"
        self.last[job.id] = job.attempt

    def _ended(self, outcome: Any) -> None:
        job = outcome.job
        self.ended[job.id] += 1
        assert self.ended[job.id] == 1, "a job ended twice"
        if Ending(job.state - 3) in REPORTED:
            assert outcome.body == body_of((job.id, job.attempt)), "a stale result"

    def assigned(self, key: Key) -> None:
        """A worker was told to run this."""
        assert key not in self.given, "an attempt was made twice"
        self.given.add(key)

    @property
    def known(self) -> set[JobId]:
        """Jobs that can be asked for."""
        return set(self.accepted) - self.forgotten

    @property
    def unfinished(self) -> set[JobId]:
        """Accepted jobs without an end."""
        return set(self.accepted) - set(self.ended)
