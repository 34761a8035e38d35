"""The common end of an attempt, by whole frames: it succeeded, and its own session waits for it.

What the end of any job takes is said by ``Attempts.end`` and ``Deliveries.owe``, step by step.
This is the same in one loop for a frame, since it is done for nearly every job: as steps, it is a
third of what a job costs the coordinator. Whatever is not as common is left to them.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..protocol.columns import named
from ..protocol.ids import SessionId
from ..protocol.outcomes import Ending, Report
from .deliveries import OUTBOX
from .effects import Outcome
from .placement import SMOOTHING
from .records import ClientRecord, JobRecord, SessionRecord, SpecRecord, WorkerRecord
from .retention import Retention
from .state import State
from .transitions import END, ILLEGAL, SUCCEEDED, TABLE

_SUCCEEDED = Ending.SUCCEEDED
_NEXT = TABLE[END + _SUCCEEDED]


class Successes:
    """Ends jobs that have succeeded."""

    def __init__(self, state: State, retention: Retention) -> None:
        self._state = state
        self._retention = retention

    def end(self, worker: WorkerRecord, reports: Iterator[Report]) -> Report | None:
        """End the jobs of a worker's reports, up to the first one that is not common."""
        state, held = self._state, worker.held
        find, wall = state.jobs.get, state.at.wall
        before: list[int] = []
        ended: list[tuple[JobRecord, bytes, bytes]] = []
        run: list[JobRecord] = []
        client: ClientRecord | None = None
        owner: SessionId | None = None
        spec: SpecRecord | None = None
        work, size, share = 0.0, 0, 0
        uncommon = None
        for report in reports:
            number, attempt, ending, began, seconds, body, blobs, log, _ = report
            job = find(number)
            if (
                job is None
                or ending is not _SUCCEEDED
                or job.worker is not worker
                or _NEXT[job.state] == ILLEGAL
                or job.attempt != attempt
                or blobs
            ):
                uncommon = report
                break
            if job.owner is not owner or job.client is not client:
                if job.client.watchers:
                    uncommon = report
                    break
                self._end_run(client, owner, run, size)
                client, owner, run, size = job.client, job.owner, [], 0
            if job.spec is not spec:
                spec = job.spec
                share = len(spec.packed) // spec.jobs
            before.append(job.state)
            if job.group is not None:
                job.group.counts[job.state] -= 1
                job.group.counts[SUCCEEDED] += 1
            job.state = SUCCEEDED
            job.seconds, job.ended = seconds, wall
            if began is not None:
                job.began = began
            del held[number]
            work += job.weight
            known = spec.cost.seconds
            spec.cost.seconds = seconds if known is None else known + (seconds - known) * SMOOTHING
            kept, payload = len(body) + len(log) + share, job.payload
            if type(payload) is bytes:
                size += len(payload)
                kept += len(payload)
            job.kept = kept
            run.append(job)
            ended.append((job, body, log))
        self._end_run(client, owner, run, size)
        if ended:
            self._count(before)
            state.ended += named(Outcome, ended)
            self._let_go(worker, [job for job, _, _ in ended], work)
        return uncommon

    def _count(self, before: list[int]) -> None:
        """So many jobs were in these states, and have succeeded."""
        counts = self._state.counts
        for old in set(before):
            counts[old] -= before.count(old)
        counts[SUCCEEDED] += len(before)
        self._state.totals[SUCCEEDED] += len(before)

    def _let_go(self, worker: WorkerRecord, jobs: list[JobRecord], work: float) -> None:
        """The worker does not hold these any more, which are not among those that it holds."""
        worker.finished += len(jobs)
        worker.work = worker.work - work if worker.held else 0.0
        for others in (worker.running, self._state.changed):
            if others:
                for job in jobs:
                    others.pop(job.id, None)
        for numbers in (worker.retracting, worker.unlisted):
            if numbers:
                numbers.difference_update([job.id for job in jobs])

    def _end_run(
        self,
        client: ClientRecord | None,
        owner: SessionId | None,
        jobs: list[JobRecord],
        size: int,
    ) -> None:
        """Jobs of one client and one session have ended, whose payloads had so many bytes."""
        if client is None:
            return
        client.unfinished -= len(jobs)
        client.pending_bytes -= size
        self._state.pending_bytes -= size
        kept = sum([job.kept for job in jobs])
        self._retention.untaken.grow(len(jobs), kept)
        client.untaken.grow(len(jobs), kept)
        session = None if owner is None else self._state.sessions.get(owner)
        promised = 0 if session is None else self._promise(session, jobs)
        self._state.cooling += jobs[promised:]

    def _promise(self, session: SessionRecord, jobs: list[JobRecord]) -> int:
        """Deliver these to the session that has submitted them; as many as it has room for."""
        state, outbox = self._state, session.outbox
        room = max(0, OUTBOX - len(outbox)) if session.connected else 0
        if room < len(jobs):
            session.behind = session.missed = True
        numbers = [job.id for job in jobs[:room]]
        if numbers:
            outbox.update(dict.fromkeys(numbers))
            state.deliveries.setdefault(session, []).extend(numbers)
        for job in jobs[:room]:
            job.owed += 1
        if state.visiting:
            for number in numbers:
                state.visiting.pop(number, None)
        return len(numbers)
