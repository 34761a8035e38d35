"""Cold jobs that become hot: an answer of the store to a task, and the heads of long queues."""

from __future__ import annotations

from ..protocol.errors import Malformed
from ..protocol.ids import WorkerId
from ..protocol.jobs import JobSpec, pack_spec
from ..protocol.ports import WorkerInfo
from .attempts import Attempts
from .dues import Thirst
from .events import Loaded
from .kept import ByIds, ByKeys, KeptJob
from .placement import Lane
from .queues import LONG, Turns, are_small
from .records import ClientRecord, JobRecord, SpecRecord, WorkerRecord
from .state import AGAIN, State, Task
from .transitions import ENDED, QUEUED

_UNREADABLE = pack_spec(JobSpec(kind="import", target="(damaged)"))


class Adoption:
    """Makes records of what is kept, and lets the tasks that asked for it go on."""

    def __init__(self, state: State, attempts: Attempts) -> None:
        self._state = state
        self._attempts = attempts

    def loaded(self, event: Loaded) -> None:
        """A task has its answer: its jobs are hot for this event."""
        state = self._state
        task, question = state.loading.pop(event.task)
        dropped, state.dropped = state.dropped, set()
        if event.found is None:
            state.go_on(task, None)
            return
        cold = [row for row in event.found.rows if row.id not in state.jobs]
        fresh = [row for row in cold if row.id not in dropped]
        if len(fresh) < len(cold) and isinstance(question, ByIds | ByKeys):
            state.load(task, question)
            return
        for row in fresh:
            if row.id not in state.jobs:
                self._visit(row)
        state.go_on(task, event.found)

    def _visit(self, row: KeptJob) -> None:
        job = self.record(row)
        self._state.warm(job)
        self._state.visiting[job.id] = job
        if row.damage and job.state < ENDED:
            self.end_damaged(job, row.damage)

    def end_damaged(self, job: JobRecord, damage: str) -> None:
        """What is stored of an unfinished job is damaged: it ends, and whoever waits is told."""
        self._attempts.end_damaged(job, damage)

    def record(self, row: KeptJob) -> JobRecord:
        """The record of a job from what is kept of it."""
        state = self._state
        session = None if row.session is None else state.sessions.get(row.session)
        job = JobRecord(
            row.id,
            state.client(row.client),
            row.session if session is None else session.id,  # equal ones are one object
            self._spec(row),
            row.payload,
            row.key,
            None if row.group is None else state.groups.get(row.group),
            row.place,
            row.submitted,
        )
        job.state = row.state
        job.attempt = row.attempt
        job.losses, job.failures = row.losses, row.failures
        job.why, job.resume = row.why, row.resume
        job.began, job.ended, job.seconds = row.began, row.ended, row.seconds
        job.taken, job.blobs, job.kept = row.taken, row.blobs, row.kept
        job.retried, job.retry_of = row.retried, row.retry_of
        job.story = row.story
        if row.worker is not None and row.state >= ENDED:
            job.worker = state.workers.get(row.worker) or former_worker(row.worker)
        return job

    def _spec(self, row: KeptJob) -> SpecRecord:
        try:
            return self._state.spec(row.spec)
        except Malformed:
            return self._state.spec(_UNREADABLE)

    # -- the heads of long queues -----------------------------------------------------------------

    def quench(self) -> None:
        """Have the queues filled up whose heads have grown short."""
        queues = self._state.queues
        if queues.thirsty:
            thirsty, queues.thirsty = queues.thirsty, []
            for client, python in thirsty:
                self.fill(client, python)

    def fill(self, client: ClientRecord, python: str | None) -> None:
        """Have a queue filled up from its tail, if that is due."""
        queue = self._state.queues.queue(client, python)
        if queue.thirsty:
            queue.warming = True
            self._state.run(self._fill(client, python))

    def _fill(self, client: ClientRecord, python: str | None) -> Task:
        state = self._state
        queue = state.queues.queue(client, python)
        ids = queue.cut_tail()
        found = yield ByIds(ids)
        queue.warming = False
        if found is None:
            queue.mend_tail(ids)
            state.wheel.add(state.at.now + AGAIN, Thirst(client, python))
            return
        jobs = []
        for number in ids:
            job = state.visiting.get(number)
            if job is not None and job.state == QUEUED:
                del state.visiting[number]
                jobs.append(job)
        queue.extend(jobs)
        queue.long = LONG if are_small(jobs) else 1
        state.queues.added(client, python, len(jobs))
        self.fill(client, python)


def former_worker(name: WorkerId) -> WorkerRecord:
    """Stands for a worker of which nothing is known any more but the name."""
    info = WorkerInfo(name=name, incarnation=b"", slots=0, python="", host="", software="")
    return WorkerRecord(name, info, _NOWHERE, 0.0)


_NOWHERE = Lane("", Turns(""))
