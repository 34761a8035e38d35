"""What a batch of writes comes to, as rows: read from the records at once, each job once.

A record that several writes are about is read once, as it is now: what the first of them made
true, the last one has replaced. So a job that was submitted, assigned and ended within one batch
is one new row. What was forgotten is not written at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from ..protocol.ids import GroupId, JobId, SessionId, WorkerId
from .effects import (
    AttemptsMade,
    GroupForgotten,
    GroupSaved,
    Hold,
    JobsAdded,
    JobsChanged,
    JobsEnded,
    JobsForgotten,
    JobsTaken,
    Outcome,
    Release,
    SessionForgotten,
    SessionSaved,
    WorkerForgotten,
    WorkerSaved,
    Write,
)
from .records import GroupRecord, JobRecord, SessionRecord, SpecRecord
from .rows import Row, Rows, is_plain, spec_digest
from .transitions import END, SUCCEEDED


@attrs.define
class NewSpec:
    """A spec of new jobs, and how many they are."""

    packed: bytes
    name: str | None
    jobs: int = 0


@attrs.define
class Batch:
    """Rows to write, by table; None in place of a row: it goes."""

    added: list[Row] = attrs.field(factory=list)
    """By ``rows.ADDED``."""
    plain: list[Row] = attrs.field(factory=list)
    """New ones as well, by ``rows.PLAIN``."""
    changed: list[Row] = attrs.field(factory=list)
    """By ``rows.CHANGING``."""
    given: list[Row] = attrs.field(factory=list)
    """By ``rows.GIVEN``."""
    successes: list[Row] = attrs.field(factory=list)
    """By ``rows.SUCCESS``."""
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


class Gathering:
    """Makes one batch of a sequence of writes."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._batch = Batch()
        self._added: dict[JobId, JobRecord] = {}
        self._given: dict[JobId, JobRecord] = {}
        self._changed: dict[JobId, JobRecord] = {}
        """Changed otherwise than by being given to a worker, or by their end."""
        self._ended: dict[JobId, Outcome] = {}
        self._taken: dict[JobId, None] = {}
        self._forgotten: dict[JobId, None] = {}
        self._groups: dict[GroupId, GroupRecord] = {}
        self._sessions: dict[SessionId, SessionRecord] = {}

    def of(self, writes: Sequence[Write]) -> Batch:
        """The batch that these writes come to."""
        for write in writes:
            _TAKE_UP[type(write)](self, write)
        self._drop_forgotten()
        batch, rows = self._batch, self._rows
        if self._added:
            self._add(list(self._added.values()))
        self._change()
        batch.outcomes = [
            (n, job.state - END, body, log) for n, (job, body, log) in self._ended.items()
        ]
        batch.taken = [n for n in self._taken if not self._is_taken(n)]
        batch.forgotten = list(self._forgotten)
        batch.groups.update((n, rows.group(group)) for n, group in self._groups.items())
        batch.sessions.update((n, rows.session(one)) for n, one in self._sessions.items())
        return batch

    def _change(self) -> None:
        """The rows of jobs that are not new, each by as few columns as its change needs."""
        batch, rows, added, changed = self._batch, self._rows, self._added, self._changed
        for number, (job, _, _) in self._ended.items():
            if job.state != SUCCEEDED or job.taken or job.retried is not None:
                changed[number] = job
        others = added.keys() | changed.keys() if changed else added
        batch.changed = [rows.changed(job) for n, job in changed.items() if n not in added]
        batch.successes = [
            rows.success(job) for n, (job, _, _) in self._ended.items() if n not in others
        ]
        batch.given = [
            rows.given(job)
            for n, job in self._given.items()
            if n not in others and n not in self._ended
        ]

    def _is_taken(self, number: JobId) -> bool:
        """Whether its row, as it is written now, says so."""
        job = self._changed.get(number) or self._added.get(number)
        return job is not None and job.taken

    def _drop_forgotten(self) -> None:
        """Leave out the rows of jobs that are forgotten by now; new ones need not go either."""
        for number in list(self._forgotten):
            if self._added.pop(number, None) is not None:
                del self._forgotten[number]
            self._given.pop(number, None)
            self._changed.pop(number, None)
            self._ended.pop(number, None)
            self._taken.pop(number, None)

    def _add(self, jobs: Sequence[JobRecord]) -> None:
        batch, added, plain = self._batch, self._rows.added, self._rows.plain
        payloads, last, digest, orphan, count = batch.payloads, None, b"", False, 0
        for job in jobs:
            if job.spec is not last:
                self._count(digest, count)
                last, count = job.spec, 0
                digest, orphan = self._spec(last), last.spec.orphans == "cancel"
            count += 1
            if orphan or not is_plain(job):
                batch.added.append(added(job, digest, orphan))
            else:
                batch.plain.append(plain(job, digest))
            payload = job.payload
            if type(payload) is bytes and payload:
                payloads.append((job.id, payload))
        self._count(digest, count)

    def _spec(self, record: SpecRecord) -> bytes:
        digest = spec_digest(record.packed)
        if digest not in self._batch.specs:
            self._batch.specs[digest] = NewSpec(record.packed, record.spec.name)
        return digest

    def _count(self, digest: bytes, jobs: int) -> None:
        if jobs:
            self._batch.specs[digest].jobs += jobs

    # -- one write --------------------------------------------------------------------------------

    def _jobs_added(self, write: JobsAdded) -> None:
        for job in write.jobs:
            self._added[job.id] = job
        if write.jobs:
            last = max(job.id for job in write.jobs)
            self._batch.next_job = max(self._batch.next_job, last + 1)

    def _attempts_made(self, write: AttemptsMade) -> None:
        given = self._given
        for job in write.jobs:
            given[job.id] = job

    def _jobs_changed(self, write: JobsChanged) -> None:
        changed = self._changed
        for job in write.jobs:
            changed[job.id] = job

    def _jobs_ended(self, write: JobsEnded) -> None:
        ended = self._ended
        for outcome in write.outcomes:
            ended[outcome[0].id] = outcome

    def _jobs_taken(self, write: JobsTaken) -> None:
        self._taken.update(dict.fromkeys(write.jobs))

    def _jobs_forgotten(self, write: JobsForgotten) -> None:
        self._forgotten.update(dict.fromkeys(write.jobs))

    def _group_saved(self, write: GroupSaved) -> None:
        group = write.group
        self._groups[group.id] = group
        self._batch.next_group = max(self._batch.next_group, group.id + 1)

    def _group_forgotten(self, write: GroupForgotten) -> None:
        self._groups.pop(write.group.id, None)
        self._batch.groups[write.group.id] = None

    def _session_saved(self, write: SessionSaved) -> None:
        session = write.session
        self._sessions[session.id] = session
        row = self._rows.answer(session.id, write.sequence, write.answer)
        self._batch.answers[session.id, write.sequence] = row

    def _session_forgotten(self, write: SessionForgotten) -> None:
        batch, session = self._batch, write.session.id
        self._sessions.pop(session, None)
        batch.sessions[session] = None
        batch.forgotten_sessions.append(session)
        for key in [key for key in batch.answers if key[0] == session]:
            del batch.answers[key]

    def _worker_saved(self, write: WorkerSaved) -> None:
        self._batch.workers[write.worker.name] = self._rows.worker(write.worker)

    def _worker_forgotten(self, write: WorkerForgotten) -> None:
        self._batch.workers[write.worker.name] = None

    def _hold(self, write: Hold) -> None:
        self._batch.blobs.update(write.digests)

    def _release(self, write: Release) -> None:
        self._batch.blobs.subtract(write.digests)


_TAKE_UP: dict[type, Callable[[Gathering, Any], None]] = {
    JobsAdded: Gathering._jobs_added,
    AttemptsMade: Gathering._attempts_made,
    JobsChanged: Gathering._jobs_changed,
    JobsEnded: Gathering._jobs_ended,
    JobsTaken: Gathering._jobs_taken,
    JobsForgotten: Gathering._jobs_forgotten,
    GroupSaved: Gathering._group_saved,
    GroupForgotten: Gathering._group_forgotten,
    SessionSaved: Gathering._session_saved,
    SessionForgotten: Gathering._session_forgotten,
    WorkerSaved: Gathering._worker_saved,
    WorkerForgotten: Gathering._worker_forgotten,
    Hold: Gathering._hold,
    Release: Gathering._release,
}
