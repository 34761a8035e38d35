"""What one commit holds, packed small: most jobs of a frame are alike, and are told together.

What is told of a job is how it is, never a difference: its *course* is a row of all that changes,
by ``Rows.course``. The short forms here each stand for the courses of many jobs.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

import attrs

from ..protocol.ids import GroupId, JobId, SessionId, WorkerId
from .records import JobRecord
from .rows import Row
from .transitions import QUEUED, SENT, SUCCEEDED

LARGE: Final = 2048
"""Bytes of a payload or an outcome that goes into its table at once, not twice to the disk."""

NEW: Final[Row] = (
    QUEUED,
    *(None, 0, None),
    *(None, None, None),
    *(0, 0, None, None),
    *(None, 0.0, (), (), False),
)
"""The course of a job that waits for its first attempt."""


class Run(NamedTuple):
    """New jobs with ids that follow each other."""

    first: JobId
    common: Row
    """The same of all: client, session, spec, key, group, by how much the place is above the id,
    submitted, orphan."""
    payloads: list[bytes]

    def fixed(self, number: int, size: int) -> Row:
        """What is fixed of one of them, by ``Rows.fixed``."""
        client, session, spec, key, group, place, submitted, orphan = self.common
        if place is not None:
            place += number
        return (
            *(number, client, session, spec, key, group),
            *(place, submitted, orphan, size, None, None, None),
        )


class Given(NamedTuple):
    """Jobs that a worker was given, each for its first attempt, say: nothing else is to be told."""

    attempt: Row
    """By ``sent_as``."""
    jobs: list[JobId]

    def course(self) -> Row:
        """That of each of them."""
        term, number, worker, story = self.attempt
        return (
            *(SENT, None, 0, None, term, number, worker),
            *(0, 0, None, None, None, 0.0, (), story, False),
        )


class Succeeded(NamedTuple):
    """Jobs that have succeeded at once, and of which nothing else is to be told."""

    attempt: Row
    ended: float
    jobs: list[tuple[JobId, int, float | None, float, bytes, bytes]]
    """Id, kept, began, seconds, body, log."""

    def courses(self) -> list[Row]:
        """Theirs, in their order."""
        term, number, worker, story = self.attempt
        first = (None, term, number, worker, 0, 0, None, None)
        ended, last = self.ended, ((), story, False)
        return [
            (SUCCEEDED, ended, kept, *first, began, seconds, *last)
            for _, kept, began, seconds, _, _ in self.jobs
        ]


def sent_as(job: JobRecord) -> Row:
    """Term and number of a job's attempt, its worker, and the job's story."""
    attempt, worker = job.attempt, job.worker
    term, number = (None, None) if attempt is None else attempt
    return (term, number, None if worker is None else worker.name, job.story)


def is_first(job: JobRecord) -> bool:
    """Whether all went well up to now, as far as ``Given`` and ``Succeeded`` do not say it."""
    return not (
        job.losses
        or job.failures
        or job.taken
        or job.blobs
        or job.why is not None
        or job.resume is not None
        or job.retried is not None
    )


def is_new(job: JobRecord) -> bool:
    """Whether nothing was done about a job: its course is ``NEW``."""
    return not (
        job.state
        or job.story
        or job.kept
        or job.seconds
        or job.attempt is not None
        or job.worker is not None
        or job.began is not None
        or job.ended is not None
    ) and is_first(job)


@attrs.define
class NewSpec:
    """A spec of new jobs, and how many they are."""

    packed: bytes
    name: str | None
    jobs: int = 0


@attrs.define
class Batch:
    """Rows to write, by table; None in place of a row: it goes."""

    runs: list[Run] = attrs.field(factory=list)
    """New jobs that are alike, as most are."""
    added: list[Row] = attrs.field(factory=list)
    """What is fixed of all other new jobs, by ``Rows.fixed``."""
    given: list[Given] = attrs.field(factory=list)
    successes: list[Succeeded] = attrs.field(factory=list)
    courses: list[tuple[JobId, Row]] = attrs.field(factory=list)
    """How all other jobs are now, those that have changed, by ``Rows.course``."""
    payloads: list[tuple[JobId, bytes]] = attrs.field(factory=list)
    outcomes: list[tuple[JobId, int, bytes, bytes]] = attrs.field(factory=list)
    """Id, ending, body, log."""
    taken: list[JobId] = attrs.field(factory=list)
    forgotten: list[JobId] = attrs.field(factory=list)
    specs: dict[bytes, NewSpec] = attrs.field(factory=dict)
    """By digest."""
    groups: dict[GroupId, Row | None] = attrs.field(factory=dict)
    sessions: dict[SessionId, Row | None] = attrs.field(factory=dict)
    answers: dict[tuple[SessionId, int], Row] = attrs.field(factory=dict)
    forgotten_sessions: list[SessionId] = attrs.field(factory=list)
    workers: dict[WorkerId, Row | None] = attrs.field(factory=dict)
    blobs: Counter[bytes] = attrs.field(factory=Counter)
    """References more, or less."""
    next_job: int = 0
    next_group: int = 0
    """The lowest ids that were never given; 0: as before."""


def jobs_of(batch: Batch) -> int:
    """How many jobs it is about; each counts as often as something is told of it."""
    alike = sum([len(run.payloads) for run in batch.runs])
    alike += sum([len(some.jobs) for some in batch.given])
    alike += sum([len(some.jobs) for some in batch.successes])
    return alike + len(batch.added) + len(batch.courses) + len(batch.taken)


def in_parts(batch: Batch, most: int) -> list[Batch]:
    """A batch as several, each about so many jobs at most: one after the other, they say the same.

    What is no job's is said last. Jobs that are not told in a short form stay together, for ids
    have to come in their order.
    """
    parts: list[Batch] = []
    if batch.added:
        parts.append(Batch(runs=batch.runs, added=batch.added, payloads=batch.payloads))
        parts[0].next_job = batch.next_job
        batch.runs, batch.added, batch.payloads = [], [], []
    for first, common, payloads in batch.runs:
        for n in range(0, len(payloads), most):
            some = Run(JobId(first + n), common, payloads[n : n + most])
            parts.append(Batch(runs=[some], next_job=some.first + len(some.payloads)))
    parts += [
        Batch(given=[Given(attempt, numbers[n : n + most])])
        for attempt, numbers in batch.given
        for n in range(0, len(numbers), most)
    ]
    parts += [
        Batch(successes=[Succeeded(attempt, ended, jobs[n : n + most])])
        for attempt, ended, jobs in batch.successes
        for n in range(0, len(jobs), most)
    ]
    taken = batch.taken
    parts += [Batch(taken=taken[n : n + most]) for n in range(0, len(taken), most)]
    batch.runs, batch.given, batch.successes, batch.taken = [], [], [], []
    return [*parts, batch]
