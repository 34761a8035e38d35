"""The start of a coordinator over a store that an earlier one has left.

Jobs that wait are cold, however many they are. Attempts keep their lease: the workers that had
them are away for now, and are believed when they come back.
"""

from __future__ import annotations

from .adoption import Adoption
from .dues import Resumption
from .events import Restored
from .kept import KeptGroup, KeptJob, KeptSession, QueuedRun
from .leases import Leases
from .records import GroupRecord, JobRecord, SessionRecord
from .retention import Retention
from .state import State
from .transitions import DELAYED, ENDED, QUEUED, RUNNING, SENT, STATE_NAMES


class Restoring:
    """Makes records of what is remembered."""

    def __init__(
        self, state: State, adoption: Adoption, leases: Leases, retention: Retention
    ) -> None:
        self._state = state
        self._adoption = adoption
        self._leases = leases
        self._retention = retention

    def restored(self, event: Restored) -> None:
        """Take up what an earlier coordinator has left; the first event."""
        state, remembered = self._state, event.remembered
        state.next_job, state.next_group = remembered.next_job, remembered.next_group
        state.counts[: len(remembered.counts)] = remembered.counts
        state.pending_bytes = remembered.pending_bytes
        for client, jobs in remembered.jobs.items():
            state.client(client).jobs = jobs
        for identity, holding in remembered.shares.items():
            record = state.client(identity)
            record.unfinished, record.pending_bytes = holding.unfinished, holding.pending_bytes
            record.untaken.jobs, record.untaken.bytes = holding.untaken
        for tally, (jobs, size) in (
            (self._retention.taken, remembered.taken),
            (self._retention.untaken, remembered.untaken),
        ):
            tally.jobs, tally.bytes = jobs, size
        for session in remembered.sessions:
            self._session(session)
        for group in remembered.groups:
            self._group(group)
        workers = [
            self._leases.enter(worker.name, worker.info, worker.since, worker.local)
            for worker in remembered.workers
        ]
        for row in remembered.live:
            self._job(row)
        for run in remembered.queued:
            self._queue(run)
        for worker in workers:
            self._leases.await_return(worker)
        for record in list(state.clients.values()):
            for python in list(record.queues):
                self._adoption.fill(record, python)

    def _session(self, kept: KeptSession) -> None:
        state = self._state
        client = state.client(kept.client)
        client.sessions += 1
        session = state.sessions[kept.id] = SessionRecord(kept.id, client)
        session.connected = False
        session.behind = True
        session.next_sequence = kept.next_sequence
        session.seen.update(kept.seen)
        session.answers.update(kept.answers)
        settings = state.settings
        session.due = state.at.now + max(settings.session_grace, settings.recovery)
        state.wheel.add(session.due, session)

    def _group(self, kept: KeptGroup) -> None:
        state = self._state
        client = state.client(kept.client)
        group = GroupRecord(kept.id, client, kept.session, kept.own, kept.submitted)
        group.name, group.size, group.jobs = kept.name, kept.size, kept.jobs
        group.counts[: len(STATE_NAMES)] = kept.counts
        group.first, group.last = kept.first, kept.last
        state.groups[kept.id] = client.groups[kept.id] = group
        session = state.sessions.get(kept.session)
        if session is not None:
            session.groups[kept.own] = group
            session.open_groups += group.size is None
        self._retention.drop_empty(group)

    def _job(self, row: KeptJob) -> None:
        """A job that was with a worker, or waits for its next attempt."""
        state, at = self._state, self._state.at
        job = self._adoption.record(row)
        state.warm(job)
        if row.damage:
            self._nobodys(job)
            self._adoption.end_damaged(job, row.damage)
            return
        self._deadline(job)
        worker = None if row.worker is None else state.workers.get(row.worker)
        if job.state in (SENT, RUNNING) and worker is not None:
            job.worker = worker
            worker.held[job.id] = job
            worker.work += job.weight
            if job.state == RUNNING:
                job.begun_at = at.now
                worker.running[job.id] = job
        elif job.state == DELAYED:
            # no longer than anybody waits: the clock may have been set back meanwhile
            longest = max(job.spec.spec.backoff, state.settings.max_backoff) * 1.25
            rest = min(max(0.0, (job.resume or 0.0) - at.wall), longest)
            state.wheel.add(at.now + rest, Resumption(job.id, job.failures))
        else:
            self._nobodys(job)

    def _nobodys(self, job: JobRecord) -> None:
        """A job that a whole store does not hold, an attempt of nobody, say: it waits."""
        job.client.unfinished += job.state >= ENDED
        for counts in (self._state.counts, job.group.counts if job.group is not None else None):
            if counts is not None:
                counts[job.state] -= 1
                counts[QUEUED] += 1
        job.state = QUEUED
        self._state.queues.put_back(job)
        self._state.changed[job.id] = job

    def _deadline(self, job: JobRecord) -> None:
        deadline = job.spec.spec.deadline
        if deadline is not None:
            at = self._state.at
            rest = min(max(0.0, job.submitted + deadline - at.wall), deadline)
            self._state.fall_due(at.now + rest, job.id, 1)

    def _queue(self, run: QueuedRun) -> None:
        """Jobs that wait go to the tail of their queue, cold."""
        state, at = self._state, self._state.at
        client = state.client(run.client)
        state.queues.queue(client, run.python).extend_tail(run.first, run.jobs)
        if run.due is not None:
            state.fall_due(at.now + max(0.0, run.due - at.wall), run.first, run.jobs)
