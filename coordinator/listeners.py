"""Who listens to the output of jobs, and how it gets there: whole, in order, before the outcome.

What a session has not taken when its connection goes waits for its next one, so that the job
waits in its writes; a session that stays away for its grace listens no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.errors import Disconnected, Malformed, NoSuchJob, TooMany
from ..protocol.ids import Attempt, JobId, SessionId
from ..protocol.jobs import Assignment
from ..protocol.outcomes import JobLog, unpack_log
from ..protocol.ports import ClientPort, WorkerPort
from .effects import Outcome
from .kept import Stored
from .lines import Line, Lines, Piece
from .records import JobRecord, SessionRecord, WorkerRecord
from .transitions import DELAYED, ENDED, QUEUED

Attached = tuple[JobLog, bool]

LISTENED = 1000
"""Jobs that one session may listen to, or wait for to be able to, before it may ask for more."""


class _Waiting(NamedTuple):
    """A session that waits for a job to start, or to end."""

    session: SessionId
    answer: Deferred[Attached]


class Listeners:
    """Output of jobs to the sessions that are attached to them.

    The submitter of a job whose spec says ``attach`` listens from its start; others by asking.
    """

    _log = Logger()

    def __init__(
        self,
        jobs: dict[JobId, JobRecord],
        sessions: dict[SessionId, SessionRecord],
        port_of: Callable[[SessionId], ClientPort | None],
        worker_port: Callable[[WorkerRecord], WorkerPort | None],
        outcome: Callable[[JobId], Deferred[Stored | None]],
        taken: Callable[[SessionId], None],
    ) -> None:
        self._jobs = jobs
        self._sessions = sessions
        self._port_of = port_of
        self._worker_port = worker_port
        self._outcome = outcome
        self._taken = taken
        self._followers: dict[JobId, dict[SessionId, None]] = {}
        self._waiting: dict[JobId, list[_Waiting]] = {}
        self._waits: Counter[SessionId] = Counter()
        """How many of those a session has."""
        self._detached: dict[JobId, set[SessionId]] = {}
        self._lines = Lines()

    def __bool__(self) -> bool:
        """Whether assignments and endings are of interest here."""
        return bool(self._followers or self._waiting or self._detached or self._lines)

    # -- output -----------------------------------------------------------------------------------

    def output(
        self, worker: WorkerRecord, number: JobId, stream: int, offset: int, data: bytes
    ) -> Deferred[bool]:
        """Pass bytes on; fires when all have taken them, with False when nobody listens.

        What has come before, by its offset in the attempt's stream, is not passed on again.
        """
        job = self._jobs.get(number)
        if job is None or job.worker is not worker or job.state >= ENDED or job.attempt is None:
            return succeed(False)
        listening = self._listening(job)
        if not listening:
            return succeed(False)
        sent = []
        for session in listening:
            line = self._lines.of(session, number)
            piece = line.add(job.attempt, stream, offset, data)
            if piece is not None:
                sent.append(piece.taken)
                self._send(session, number, line, piece)
        return gatherResults(sent).addCallback(any) if sent else succeed(True)

    def _listening(self, job: JobRecord) -> list[SessionId]:
        sessions = dict(self._followers.get(job.id, ()))
        if job.owner is not None and job.spec.spec.attach:
            sessions[job.owner] = None
        gone = self._detached.get(job.id, ())
        return [session for session in sessions if session not in gone and self._lives(session)]

    def _lives(self, session: SessionId) -> bool:
        """Whether a session is connected, or may soon be again."""
        record = self._sessions.get(session)
        return record is not None and not record.gone

    def _send(self, session: SessionId, job: JobId, line: Line, piece: Piece) -> None:
        port = self._port_of(session)
        if port is None:
            return  # it waits for the next connection

        def answered(wanted: bool) -> None:
            if wanted:
                self._done(session, job, line, piece)
            else:
                self.detach(session, job)

        def failed(failure: Failure) -> None:
            if not failure.check(Disconnected):
                self._log.failure("output of job {job} was not taken", failure, job=job)
                self.detach(session, job)

        sent = maybeDeferred(port.output, job, piece.stream, piece.offset, piece.data)
        sent.addCallbacks(answered, failed)

    def _done(self, session: SessionId, job: JobId, line: Line, piece: Piece) -> None:
        """The session has taken a piece, the first of those that wait, or its second copy."""
        if not line.taken(piece):
            return
        if not line.pieces:
            record = self._jobs.get(job)
            if record is None or record.state >= ENDED:
                self._lines.drop(session, job)
            self._taken(session)

    def told(self, session: SessionId, jobs: Sequence[JobId]) -> Sequence[JobId]:
        """Those of these jobs of whose output nothing is on its way to the session."""
        waits = self._lines.waits
        return [job for job in jobs if not waits(session, job)] if self._lines else jobs

    # -- attaching --------------------------------------------------------------------------------

    def attach(self, session: SessionId, job: JobRecord, follow: bool) -> Deferred[Attached]:
        """What a job printed, and whether more will come."""
        if follow and self._lines.count(session) + self._waits[session] >= LISTENED:
            return fail(TooMany(f"this session listens to {LISTENED} jobs, as many as it may"))
        return self._attach(session, job, follow)

    def _attach(self, session: SessionId, job: JobRecord, follow: bool) -> Deferred[Attached]:
        if job.state >= ENDED:
            return self._outcome(job.id).addCallback(_stored_log)
        if job.state in (QUEUED, DELAYED) and not follow:
            return succeed((JobLog(), False))
        port = None if job.worker is None else self._worker_port(job.worker)
        if port is None or job.attempt is None:
            return self._wait(session, job.id) if follow else succeed((JobLog(), False))
        attached = port.attach(job.id, follow)
        return attached.addCallbacks(
            self._attached,
            self._not_attached,
            callbackArgs=(session, job, job.attempt, follow),
            errbackArgs=(session, job, follow),
        )

    def _attached(
        self, log: JobLog, session: SessionId, job: JobRecord, attempt: Attempt, follow: bool
    ) -> Attached:
        if follow:
            self._detached.get(job.id, set()).discard(session)
            if job.state < ENDED:
                self._followers.setdefault(job.id, {})[session] = None
                self._lines.of(session, job.id).begin(attempt, log)
        return log, follow and job.state < ENDED

    def _not_attached(
        self, failure: Failure, session: SessionId, job: JobRecord, follow: bool
    ) -> Deferred[Attached]:
        """The worker does not have it any more: its end, or another start, is coming."""
        if job.id not in self._jobs:
            return fail(NoSuchJob())
        if job.state >= ENDED or not follow:
            return self._attach(session, job, follow) if job.state >= ENDED else _nothing()
        return self._wait(session, job.id)

    def attach_cold(
        self, session: SessionId, job: JobId, ended: bool, follow: bool
    ) -> Deferred[Attached]:
        """The same for a job that is not in memory."""
        if ended:
            return self._outcome(job).addCallback(_stored_log)
        if self._waits[session] >= LISTENED:
            return fail(TooMany(f"this session waits for {LISTENED} jobs, as many as it may"))
        return self._wait(session, job) if follow else _nothing()

    def _wait(self, session: SessionId, job: JobId) -> Deferred[Attached]:
        answer: Deferred[Attached] = Deferred()
        self._waiting.setdefault(job, []).append(_Waiting(session, answer))
        self._waits[session] += 1
        return answer

    def _take_waiting(self, job: JobId) -> list[_Waiting]:
        waiting = self._waiting.pop(job, [])
        for session, _ in waiting:
            self._waits[session] -= 1
            if not self._waits[session]:
                del self._waits[session]
        return waiting

    def _wait_no_more(self, session: SessionId) -> None:
        """The connection is gone that those answers were for."""
        if not self._waits.pop(session, 0):
            return
        for job, waiting in list(self._waiting.items()):
            left = [one for one in waiting if one.session != session]
            if left:
                self._waiting[job] = left
            else:
                del self._waiting[job]

    def detach(self, session: SessionId, job: JobId) -> None:
        """The session does not listen to the job any more."""
        followers = self._followers.get(job)
        if followers is not None:
            followers.pop(session, None)
            if not followers:
                del self._followers[job]
        record = self._jobs.get(job)
        unfinished = record is not None and record.state < ENDED
        if record is not None and unfinished and record.spec.spec.attach:
            self._detached.setdefault(job, set()).add(session)
        if self._lines.end(session, job, keep=unfinished):
            self._taken(session)

    # -- what becomes of the jobs -----------------------------------------------------------------

    def assigned(self, assignments: Sequence[Assignment]) -> None:
        """Workers have these jobs now: attach who waits, and who followed an earlier attempt."""
        for assignment in assignments:
            number = assignment.job
            job = self._jobs.get(number)
            if job is None:
                continue
            for session, answer in self._take_waiting(number):
                self._attach(session, job, True).chainDeferred(answer)
            for session in list(self._followers.get(number, ())):
                if not job.spec.spec.attach:
                    self._attach(session, job, True).addCallbacks(
                        self._catch_up, lambda _: None, callbackArgs=(session, number)
                    )

    def _catch_up(self, attached: Attached, session: SessionId, job: JobId) -> None:
        """What a new attempt has printed before it was attached to."""
        line = self._lines.of(session, job)
        for stream, log in enumerate(attached[0], 1):
            if log.head or log.tail:
                self._send(session, job, line, line.tell(stream, log.head + log.tail))

    def worker_back(self, worker: WorkerRecord) -> None:
        """A worker can be asked again about the jobs that it holds."""
        for number in [number for number in self._waiting if number in worker.held]:
            for session, answer in self._take_waiting(number):
                self._attach(session, worker.held[number], True).chainDeferred(answer)

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        """These jobs will print no more."""
        for job, _body, log in outcomes:
            for waiting in self._take_waiting(job.id):
                waiting.answer.callback((_readable(log), False))
            self._followers.pop(job.id, None)
            self._detached.pop(job.id, None)
            self._lines.job_ended(job.id)

    # -- what becomes of the sessions -------------------------------------------------------------

    def session_back(self, session: SessionId) -> None:
        """A session has a new connection: what it has not taken is sent again."""
        self._wait_no_more(session)
        for job, line in self._lines.of_session(session):
            for piece in list(line.pieces):
                self._send(session, job, line, piece)

    def session_gone(self, session: SessionId) -> None:
        """A session has been away for too long, or has left: it listens no more."""
        self._wait_no_more(session)
        for job, sessions in list(self._detached.items()):
            sessions.discard(session)
            if not sessions:
                del self._detached[job]
        jobs = {job for job, sessions in self._followers.items() if session in sessions}
        jobs.update(job for job, _ in self._lines.of_session(session))
        for job in jobs:
            self.detach(session, job)


def _stored_log(stored: Stored | None) -> Attached:
    if stored is None:
        raise NoSuchJob
    return _readable(stored.log), False


def _readable(log: bytes) -> JobLog:
    """What a worker has sent as a log; one that is none is empty."""
    try:
        return unpack_log(log)
    except Malformed:
        return JobLog()


def _nothing() -> Deferred[Attached]:
    return succeed((JobLog(), False))
