"""What becomes of attempts: begun, ended, given back, lost; and how a job ends."""

from __future__ import annotations

from collections.abc import Sequence

from ..protocol.errors import Malformed
from ..protocol.ids import Attempt, JobId
from ..protocol.jobs import BlobRef
from ..protocol.outcomes import Ending, Evidence, Report, pack_outcome, unpack_outcome
from ..protocol.outcomes import Outcome as Body
from ..protocol.ports import Ended
from .deliveries import Deliveries
from .dues import Resumption
from .effects import Outcome
from .events import Begun, Finished, Returned
from .placement import Placement, learn, learn_from_waiting
from .records import JobRecord, WorkerRecord
from .state import State
from .successes import Successes
from .transitions import BEGIN, DELAY, DELAYED, END, ENDED, QUEUED, REQUEUE, RUNNING, SENT

SHORT = 200
"""Characters of an error's message in a job's story."""

_ENDING_OF_WHY = {
    "cancelled": Ending.CANCELLED,
    "unbegun": Ending.CANCELLED,
    "deadline": Ending.TIMED_OUT,
}
_REASON_OF_WHY = {
    "cancelled": "cancelled before it began",
    "unbegun": "cancelled before it began",
    "deadline": "its deadline passed before it began",
}
_RETURNED_BODIES = {
    why: pack_outcome(Body(evidence=Evidence(reason=f"{what}, and its worker left")))
    for why, what in {
        "cancelled": "cancelled",
        "unbegun": "cancelled",
        "deadline": "its deadline passed",
    }.items()
}
UNBEGUN_BODIES = {
    why: pack_outcome(Body(evidence=Evidence(reason=reason)))
    for why, reason in _REASON_OF_WHY.items()
}


class Attempts:
    """The life of attempts, from their assignment to the end of the job or of the attempt."""

    def __init__(
        self, state: State, placement: Placement, deliveries: Deliveries, successes: Successes
    ) -> None:
        self._state = state
        self._successes = successes
        self._placement = placement
        self._deliveries = deliveries

    # -- what workers tell ------------------------------------------------------------------------

    def begun(self, event: Begun) -> None:
        """Children have started attempts. One that is not current is to be ended."""
        state = self._state
        worker = state.workers.get(event.worker)
        if worker is None:
            return
        stale = []
        for number, attempt, began in event.attempts:
            job = self._current(worker, number, attempt)
            if job is None:
                stale.append(Ended(number, attempt, "superseded"))
            elif job.state == SENT:
                state.move(job, BEGIN)
                job.began = began
                job.begun_at = event.at.now
                worker.running[number] = job
                worker.retracting.discard(number)
                worker.unlisted.discard(number)
                state.changed[number] = job
        if stale:
            state.ends.setdefault(worker, []).extend(stale)

    def finished(self, event: Finished) -> None:
        """Attempts have ended. A report of one that is not current is ignored."""
        worker = self._state.workers.get(event.worker)
        if worker is None:
            return
        reports = iter(event.reports)
        while (report := self._successes.end(worker, reports)) is not None:
            job = self._current(worker, report.job, report.attempt)
            if job is not None:
                self._report(worker, job, report)
        self._placement.room(worker)

    def returned(self, event: Returned) -> None:
        """A worker gives back attempts: not begun, or ended because it leaves."""
        worker = self._state.workers.get(event.worker)
        if worker is None:
            return
        learn_from_waiting(worker, event.at.now)
        for number, attempt in sorted(event.attempts, reverse=True):
            job = self._current(worker, number, attempt)
            if job is not None:
                self.take_back(job, "returned")
        self._placement.room(worker)

    def _current(self, worker: WorkerRecord, number: JobId, attempt: Attempt) -> JobRecord | None:
        """The job whose current attempt this worker holds under that name."""
        job = self._state.jobs.get(number)
        if job is None or job.worker is not worker or job.state >= ENDED or job.attempt != attempt:
            return None
        return job

    def _report(self, worker: WorkerRecord, job: JobRecord, report: Report) -> None:
        ending = report.ending
        if report.began is not None:
            job.began = report.began
        if ending is Ending.LOST:
            if report.began is None and job.state != RUNNING:
                self.take_back(job, "not begun")
            else:
                self._lost_report(worker, job, report)
            return
        job.seconds = report.seconds
        if ending is Ending.SUCCEEDED or ending is Ending.FAILED:
            learn(job, report.seconds)
        worker.finished += 1
        if ending is not Ending.SUCCEEDED:
            worker.failed += 1
            if job.spec.spec.retries and self._put_off(worker, job, report):
                return
        self.end(job, ending, report.body, report.blobs, report.log)

    # -- retries ----------------------------------------------------------------------------------

    def _put_off(self, worker: WorkerRecord, job: JobRecord, report: Report) -> bool:
        """Have a job run again that failed or timed out, where its options say so."""
        state, spec = self._state, job.spec.spec
        if report.ending not in (Ending.FAILED, Ending.TIMED_OUT):
            return False
        if not report.again or job.failures >= spec.retries or job.why is not None:
            return False
        seconds = self._backoff(job)
        resume = state.at.wall + seconds
        if spec.deadline is not None and resume >= job.submitted + spec.deadline:
            return False
        told = _in_short(report)
        job.note((state.at.wall, report.ending.words, f"{_attempt_of(job)}{told}"))
        job.failures += 1
        state.move(job, DELAY)
        self._let_go(job)
        job.worker = None
        job.began = None
        job.resume = resume
        state.changed[job.id] = job
        state.wheel.add(state.at.now + seconds, Resumption(job.id, job.failures))
        return True

    def _backoff(self, job: JobRecord) -> float:
        """Twice as long each time, up to a bound, and give or take a quarter of it. One that begins
        above the bound stays as long as it is."""
        first = job.spec.spec.backoff
        longest = max(first, self._state.settings.max_backoff)
        doubled = min(first * 2.0 ** min(job.failures, 64), longest)
        # a multiplicative hash: chance enough to spread jobs that failed together
        scatter = ((job.id * 2654435761 + job.failures * 40503) & 0xFFFF) / 0x10000
        return doubled * (0.75 + 0.5 * scatter)

    def resume(self, due: Resumption) -> None:
        """A delayed job may have its next attempt."""
        job = self._state.jobs.get(due.job)
        if job is not None and job.state == DELAYED and job.failures == due.failures:
            self._state.move(job, REQUEUE)
            job.resume = None
            self._state.queues.put_back(job)
            self._state.changed[job.id] = job

    # -- the end of an attempt --------------------------------------------------------------------

    def take_back(self, job: JobRecord, what: str) -> None:
        """An attempt is over that had not begun, and counts nothing."""
        if job.why is not None:
            bodies = UNBEGUN_BODIES if job.state == SENT else _RETURNED_BODIES
            self.end(job, _ENDING_OF_WHY[job.why], bodies[job.why])
        else:
            self._requeue(job, what, job.worker.name if job.worker is not None else "")

    def lose(self, job: JobRecord, evidence: Evidence) -> None:
        """An attempt is lost with its worker; a loss is counted if it had begun."""
        if job.state == RUNNING:
            self._lost(job, Body(evidence=evidence), b"", ())
        else:
            self.take_back(job, "not begun")

    def _lost_report(self, worker: WorkerRecord, job: JobRecord, report: Report) -> None:
        try:
            body = unpack_outcome(report.body)
        except Malformed:
            body = Body()
        if body.evidence is None:
            body = Body(evidence=Evidence(worker=worker.name, host=worker.info.host))
        worker.lost += 1
        self._lost(job, body, report.log, report.blobs)

    def _lost(self, job: JobRecord, body: Body, log: bytes, blobs: tuple[BlobRef, ...]) -> None:
        """An attempt that had begun is lost: run the job again, or put it aside."""
        evidence = body.evidence or Evidence()
        number = job.attempt.number if job.attempt is not None else 0
        text = f"attempt {number}{describe(evidence)}"
        most = job.spec.spec.max_losses
        if most is None:
            most = self._state.settings.max_losses
        job.losses += 1
        if job.why == "cancelled" or job.why == "deadline":
            self.end(job, _ENDING_OF_WHY[job.why], pack_outcome(body), blobs, log)
        elif job.losses > most:
            job.note((self._state.at.wall, "lost", text))
            crashed = Body(evidence=evidence._replace(reason=_account(job)), tail=body.tail)
            self.end(job, Ending.CRASHED, pack_outcome(crashed), (), log)
        else:
            self._requeue(job, "lost", text)

    def _requeue(self, job: JobRecord, what: str, detail: str) -> None:
        """The job waits for another attempt, before the others of its client."""
        state = self._state
        state.move(job, REQUEUE)
        self._let_go(job)
        job.worker = None
        job.began = None
        job.why = None
        job.note((state.at.wall, what, detail))
        state.queues.put_back(job)
        state.changed[job.id] = job

    @staticmethod
    def _let_go(job: JobRecord) -> None:
        """The worker does not hold the job any more."""
        worker = job.worker
        if worker is None:
            return
        number = job.id
        del worker.held[number]
        worker.work = worker.work - job.weight if worker.held else 0.0
        worker.running.pop(number, None)
        if worker.retracting:
            worker.retracting.discard(number)
        if worker.unlisted:
            worker.unlisted.discard(number)

    # -- the end of a job -------------------------------------------------------------------------

    def end(
        self,
        job: JobRecord,
        ending: Ending,
        body: bytes,
        blobs: tuple[BlobRef, ...] = (),
        log: bytes = b"",
    ) -> None:
        """The job has its one outcome."""
        state = self._state
        if job.state == QUEUED:
            state.leave_queue(job)
        elif job.state != DELAYED:
            self._let_go(job)
        job.resume = None
        state.changed.pop(job.id, None)
        state.move(job, END + ending)
        state.totals[job.state] += 1
        job.ended = state.at.wall
        payload, client = job.payload, job.client
        client.unfinished -= 1
        # a large spec that no other job has counts as this one's
        job.kept = len(body) + len(log) + len(job.spec.packed) // job.spec.jobs
        if type(payload) is bytes:
            size = len(payload)
            state.pending_bytes -= size
            client.pending_bytes -= size
            job.kept += size
        if blobs:
            job.blobs = blobs
            state.hold(blobs)
        state.ended.append(Outcome(job, body, log))
        self._deliveries.owe(job)

    def end_damaged(self, job: JobRecord, damage: str) -> None:
        """What is stored of a job that waits does not fit its checksum: it cannot be run."""
        evidence = Evidence(reason=f"what is stored of it is damaged: {damage}")
        self.end(job, Ending.CRASHED, pack_outcome(Body(evidence=evidence)))

    def end_waiting(self, job: JobRecord, why: str) -> None:
        """A job that waits ends without having been tried."""
        self.end(job, _ENDING_OF_WHY[why], UNBEGUN_BODIES[why])


def describe(evidence: Evidence) -> str:
    """A lost attempt in words, after its number: `` on w1: SIGSEGV; ...``."""
    facts: Sequence[str] = [
        fact
        for fact in (
            evidence.signal or "",
            f"exit code {evidence.exit_code}" if evidence.exit_code is not None else "",
            f"peak memory {evidence.peak_memory >> 20} MiB" if evidence.peak_memory else "",
            evidence.reason,
        )
        if fact
    ]
    place = f" on {evidence.worker}" if evidence.worker else ""
    return f"{place}: {', '.join(facts) or 'lost'}"


def _attempt_of(job: JobRecord) -> str:
    number = job.attempt.number if job.attempt is not None else 0
    return f"attempt {number} on {job.worker.name}" if job.worker is not None else ""


def _in_short(report: Report) -> str:
    """What a report says of the end of its attempt, in a few words."""
    try:
        body = unpack_outcome(report.body)
    except Malformed:
        return ""
    if body.error is not None:
        return f": {body.error.type_name}: {body.error.message[:SHORT]}"
    if body.exit_code is not None:
        return f": exit code {body.exit_code}"
    if body.evidence is not None and body.evidence.reason:
        return f": {body.evidence.reason[:SHORT]}"
    return ""


def _account(job: JobRecord) -> str:
    """Every lost attempt of a job, in a sentence."""
    losses = [detail for _, what, detail in job.story if what == "lost"]
    times = "once" if job.losses == 1 else f"{job.losses} times"
    return f"lost {times}: {'; '.join(losses)}"
