"""Who listens to the output of jobs, and how it gets there: in order, and before the outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred, succeed
from twisted.python.failure import Failure

from ..protocol.errors import NoSuchJob
from ..protocol.ids import JobId, SessionId
from ..protocol.jobs import Assignment
from ..protocol.outcomes import JobLog, unpack_log
from ..protocol.ports import ClientPort, WorkerPort
from .effects import Outcome
from .records import JobRecord, SessionRecord, WorkerRecord
from .store import Stored
from .transitions import ENDED, QUEUED

Attached = tuple[JobLog, bool]


class _Waiting(NamedTuple):
    """A session that waits for a job to start, or to end."""

    session: SessionId
    answer: Deferred[Attached]


class Listeners:
    """Output of jobs to the sessions that are attached to them.

    The submitter of a job whose spec says ``attach`` listens from its start; others by asking.
    """

    def __init__(
        self,
        jobs: dict[JobId, JobRecord],
        port_of: Callable[[SessionId], ClientPort | None],
        worker_port: Callable[[WorkerRecord], WorkerPort | None],
        outcome: Callable[[JobId], Deferred[Stored | None]],
        taken: Callable[[SessionId], None],
    ) -> None:
        self._jobs = jobs
        self._port_of = port_of
        self._worker_port = worker_port
        self._outcome = outcome
        self._taken = taken
        self._followers: dict[JobId, dict[SessionId, None]] = {}
        self._waiting: dict[JobId, list[_Waiting]] = {}
        self._detached: dict[JobId, set[SessionId]] = {}
        self._on_the_way: Counter[tuple[SessionId, JobId]] = Counter()

    def __bool__(self) -> bool:
        """Whether assignments and endings are of interest here."""
        return bool(self._followers or self._waiting or self._detached)

    # -- output -----------------------------------------------------------------------------------

    def output(
        self, worker: WorkerRecord, number: JobId, stream: int, data: bytes
    ) -> Deferred[bool]:
        """Pass bytes on; fires when all have taken them, with False when nobody listens."""
        job = self._jobs.get(number)
        if job is None or job.worker is not worker or job.state >= ENDED:
            return succeed(False)
        sent = []
        for session in self._listening(job):
            port = self._port_of(session)
            if port is not None:
                sent.append(self._send(port, session, number, stream, data))
        if not sent:
            return succeed(False)
        return gatherResults(sent).addCallback(any)

    def _listening(self, job: JobRecord) -> list[SessionId]:
        sessions = dict(self._followers.get(job.id, ()))
        owner: SessionRecord | None = job.session
        if owner is not None and job.spec.spec.attach:
            sessions[owner.id] = None
        gone = self._detached.get(job.id, ())
        return [session for session in sessions if session not in gone]

    def _send(
        self, port: ClientPort, session: SessionId, job: JobId, stream: int, data: bytes
    ) -> Deferred[bool]:
        on_the_way = self._on_the_way
        on_the_way[session, job] += 1

        def taken(wanted: Any) -> bool:
            on_the_way[session, job] -= 1
            if not on_the_way[session, job]:
                del on_the_way[session, job]
                self._taken(session)
            if wanted is True:
                return True
            self.detach(session, job)
            return False

        return maybeDeferred(port.output, job, stream, data).addBoth(taken)

    def on_its_way(self, session: SessionId, job: JobId) -> bool:
        """Whether the session has not taken all of the job's output yet."""
        return bool(self._on_the_way) and (session, job) in self._on_the_way

    # -- attaching --------------------------------------------------------------------------------

    def attach(self, session: SessionId, job: JobRecord, follow: bool) -> Deferred[Attached]:
        """What a job printed, and whether more will come."""
        if job.state >= ENDED:
            return self._outcome(job.id).addCallback(_stored_log)
        if job.state == QUEUED and not follow:
            return succeed((JobLog(), False))
        port = None if job.worker is None else self._worker_port(job.worker)
        if port is None:
            return self._wait(session, job) if follow else succeed((JobLog(), False))
        attached = port.attach(job.id, follow)
        return attached.addCallbacks(
            self._attached,
            self._not_attached,
            callbackArgs=(session, job, follow),
            errbackArgs=(session, job, follow),
        )

    def _attached(self, log: JobLog, session: SessionId, job: JobRecord, follow: bool) -> Attached:
        if follow:
            self._detached.get(job.id, set()).discard(session)
            if job.state < ENDED:
                self._followers.setdefault(job.id, {})[session] = None
        return log, follow and job.state < ENDED

    def _not_attached(
        self, failure: Failure, session: SessionId, job: JobRecord, follow: bool
    ) -> Deferred[Attached]:
        """The worker does not have it any more: its end, or another start, is coming."""
        if job.id not in self._jobs:
            return fail(NoSuchJob())
        if job.state >= ENDED or not follow:
            return self.attach(session, job, follow) if job.state >= ENDED else _nothing()
        return self._wait(session, job)

    def _wait(self, session: SessionId, job: JobRecord) -> Deferred[Attached]:
        answer: Deferred[Attached] = Deferred()
        self._waiting.setdefault(job.id, []).append(_Waiting(session, answer))
        return answer

    def detach(self, session: SessionId, job: JobId) -> None:
        """The session does not listen to the job any more."""
        followers = self._followers.get(job)
        if followers is not None:
            followers.pop(session, None)
            if not followers:
                del self._followers[job]
        record = self._jobs.get(job)
        if record is not None and record.state < ENDED and record.spec.spec.attach:
            self._detached.setdefault(job, set()).add(session)

    # -- what becomes of the jobs -----------------------------------------------------------------

    def assigned(self, assignments: Sequence[Assignment]) -> None:
        """Workers have these jobs now: attach who waits, and who followed an earlier attempt."""
        for assignment in assignments:
            number = assignment.job
            job = self._jobs.get(number)
            if job is None:
                continue
            for session, answer in self._waiting.pop(number, ()):
                self.attach(session, job, True).chainDeferred(answer)
            for session in list(self._followers.get(number, ())):
                if not job.spec.spec.attach:
                    self.attach(session, job, True).addCallbacks(
                        self._catch_up, lambda _: None, callbackArgs=(session, number)
                    )

    def _catch_up(self, attached: Attached, session: SessionId, job: JobId) -> None:
        """What a new attempt has printed before it was attached to."""
        for stream, log in enumerate(attached[0], 1):
            port = self._port_of(session)
            if port is not None and (log.head or log.tail):
                self._send(port, session, job, stream, log.head + log.tail)

    def worker_back(self, worker: WorkerRecord) -> None:
        """A worker can be asked again about the jobs that it holds."""
        for number in [number for number in self._waiting if number in worker.held]:
            for session, answer in self._waiting.pop(number):
                self.attach(session, worker.held[number], True).chainDeferred(answer)

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        """These jobs will print no more."""
        for job, _body, log in outcomes:
            for waiting in self._waiting.pop(job.id, ()):
                waiting.answer.callback((unpack_log(log), False))
            self._followers.pop(job.id, None)
            self._detached.pop(job.id, None)

    def session_gone(self, session: SessionId) -> None:
        """A session's connection is gone: it attaches again if it wants to."""
        for job in [job for job, sessions in self._followers.items() if session in sessions]:
            self.detach(session, job)


def _stored_log(stored: Stored | None) -> Attached:
    if stored is None:
        raise NoSuchJob
    return unpack_log(stored.log), False


def _nothing() -> Deferred[Attached]:
    return succeed((JobLog(), False))
