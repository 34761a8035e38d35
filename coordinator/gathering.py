"""What a batch of writes comes to, as rows: read from the records at once, each job once.

A record that several writes are about is read once, as it is now: what the first of them made
true, the last one has replaced. So a job that was submitted, assigned and ended within one batch
is one new row. What was forgotten is not written at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..protocol.ids import GroupId, JobId, SessionId
from .batches import LARGE, Batch, Given, NewSpec, Run, Succeeded, is_first, is_new, sent_as
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
from .rows import Rows, spec_digest
from .transitions import END, SENT, SUCCEEDED


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
        if self._forgotten:
            self._drop_forgotten()
        batch, rows = self._batch, self._rows
        if self._added:
            self._add(list(self._added.values()))
        if self._given:
            self._give()
        if self._ended:
            self._end()
        course = rows.course
        batch.courses = [(n, course(job)) for n, job in self._changed.items()]
        batch.taken = list(self._taken)
        batch.forgotten = list(self._forgotten)
        batch.groups.update((n, rows.group(group)) for n, group in self._groups.items())
        batch.sessions.update((n, rows.session(one)) for n, one in self._sessions.items())
        return batch

    def _drop_forgotten(self) -> None:
        """Leave out the rows of jobs that are forgotten by now; new ones need not go either."""
        for number in list(self._forgotten):
            if self._added.pop(number, None) is not None:
                del self._forgotten[number]
            self._given.pop(number, None)
            self._changed.pop(number, None)
            self._ended.pop(number, None)
            self._taken.pop(number, None)

    def _give(self) -> None:
        """Jobs that a worker was given, those that are alike together."""
        changed, ended, given = self._changed, self._ended, self._batch.given
        last: Given | None = None
        attempt = worker = story = None
        for number, job in self._given.items():
            if number in ended or number in changed:
                continue
            if job.state != SENT or not is_first(job) or job.began is not None:
                changed[number] = job
                continue
            if (
                last is None
                or job.attempt is not attempt
                or job.worker is not worker
                or job.story is not story
            ):
                attempt, worker, story = job.attempt, job.worker, job.story
                last = Given(sent_as(job), [])
                given.append(last)
            last.jobs.append(number)

    def _end(self) -> None:
        """Jobs that have ended, those that have succeeded alike together."""
        changed, batch = self._changed, self._batch
        last: Succeeded | None = None
        attempt = worker = story = ended = None
        for number, (job, body, log) in self._ended.items():
            if job.state != SUCCEEDED or len(body) + len(log) > LARGE or not is_first(job):
                changed[number] = job
                batch.outcomes.append((number, job.state - END, body, log))
                continue
            if changed:
                changed.pop(number, None)
            if (
                last is None
                or job.attempt is not attempt
                or job.ended != ended
                or job.worker is not worker
                or job.story is not story
            ):
                attempt, worker, story, ended = job.attempt, job.worker, job.story, job.ended
                last = Succeeded(sent_as(job), float(ended or 0.0), [])
                batch.successes.append(last)
            last.jobs.append((number, job.kept, job.began, job.seconds, body, log))

    def _add(self, jobs: Sequence[JobRecord]) -> None:
        batch, given, ended, changed = self._batch, self._given, self._ended, self._changed
        spec, digest, orphan, count = None, b"", False, 0
        run: Run | None = None
        following = 0
        place: int | None = None
        client = owner = group = submitted = None
        for job in jobs:
            number, payload = job.id, job.payload
            if job.spec is not spec:
                self._count(digest, count)
                spec, count, run = job.spec, 0, None
                digest, orphan = self._spec(spec), spec.spec.orphans == "cancel"
            count += 1
            if number not in given and number not in ended and not is_new(job):
                changed[number] = job
            if (
                job.key is not None
                or type(payload) is not bytes
                or len(payload) > LARGE
                or job.retry_of is not None
            ):
                batch.added.append(self._rows.fixed(job, digest, orphan))
                if type(payload) is bytes and payload:
                    batch.payloads.append((number, payload))
                continue
            if (
                run is None
                or number != following
                or job.client is not client
                or job.owner is not owner
                or job.group is not group
                or job.submitted != submitted
                or (None if job.place is None else job.place - number) != place
            ):
                client, owner, group, submitted = job.client, job.owner, job.group, job.submitted
                place = None if job.place is None else job.place - number
                fixed = self._rows.fixed(job, digest, orphan)
                run = Run(number, (*fixed[1:6], place, *fixed[7:9]), [])
                batch.runs.append(run)
            following = number + 1
            run.payloads.append(payload)
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
