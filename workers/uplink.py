"""The coordinator, as seen by the slots of a worker on another machine.

What happens here is written down in the turn that it happens in, and goes out in frames when that
turn is over. A record stays until its frame is answered: when a connection goes, all that was not
answered is put back in front and goes out again on the next one. The coordinator refuses what it
knows already.

Nothing here waits for a connection with a timer: ``Agent`` says when there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.commands import Begun, Finished, Returned, WorkerState
from ..protocol.departures import Departures
from ..protocol.errors import Malformed, StorageFull, TooLarge
from ..protocol.ids import Attempt, JobId
from ..protocol.jobs import Assignment, BlobRef
from ..protocol.limits import FRAME_BYTES, FRAME_JOBS, FRAMES_IN_FLIGHT
from ..protocol.outcomes import Ending, ErrorText, Outcome, Report, pack_outcome, pack_reports
from ..protocol.pace import Pace
from ..protocol.ports import Beginning, Holding
from .backlog import Backlog, Kept, Recorded, holding_of
from .outputs import Outputs
from .room import Room
from .values import Values

if TYPE_CHECKING:
    from ..protocol.connection import Connection
    from ..protocol.transfers import DeferToThread
    from .blobcache import BlobCache

_SHORT_BYTES = 4096

KEPT_BYTES: Final = 1024**3
"""Bytes of reports and results that wait in files, above which nothing more is begun."""


class _Frame(NamedTuple):
    """What is on its way: exactly one of these is not empty."""

    begun: tuple[Beginning, ...] = ()
    returned: tuple[Holding, ...] = ()
    reports: tuple[Kept, ...] = ()

    def send(self, connection: Connection) -> Deferred[dict[str, Any]]:
        if self.begun:
            attempts = [[job, *attempt, began] for job, attempt, began in self.begun]
            return connection.call(Begun, attempts=attempts)
        if self.returned:
            return connection.call(Returned, attempts=[[job, *at] for job, at in self.returned])
        return connection.call(Finished, reports=pack_reports([kept for kept, _ in self.reports]))


class Uplink:
    """``ports.WorkerEvents`` over connections that come and go."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        cache: BlobCache,
        defer_to_thread: DeferToThread,
        backlog: Backlog,
        random: Random | None = None,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._reactor = reactor
        self._outputs = Outputs()
        self._room = Room(reactor, random or SystemRandom(), self._try_again)
        self._values = Values(cache, defer_to_thread, self._room)
        self._connection: Connection | None = None
        self._flushing: IDelayedCall | None = None
        self._pace = Pace(reactor)
        self._departures = Departures.of(reactor)
        self._begun: dict[tuple[JobId, Attempt], Beginning] = {}
        self._returned: list[Holding] = []
        self._reports = backlog
        self._alone = 0  # so many of them go in a frame of their own: one of them was refused
        self._unanswered: list[_Frame] = []
        self._refused: list[_Frame] = []  # those of them for which there was no room
        self._flush_waiters: list[Deferred[None]] = []
        self._kept_bytes = kept_bytes
        self.full = False
        """Whether so much waits to be sent that nothing more shall be begun."""
        self.on_full: Callable[[bool], None] = lambda full: None
        backlog.on_change = self._changed
        self._values.on_change = self._weigh

    # -- ports.WorkerEvents -----------------------------------------------------------------------

    def begun(self, attempts: Sequence[Beginning]) -> None:
        """A child has started these; said in the report instead, if that comes in the same turn."""
        for beginning in attempts:
            self._begun[beginning.job, beginning.attempt] = beginning
        self._arm()

    def finished(self, reports: Sequence[Report]) -> Deferred[None]:
        """Fires when the reports are recorded, or will never be wanted."""
        recorded = Recorded(len(reports))
        if not reports:
            recorded.done.callback(None)
            return recorded.done
        if self._begun or self._values.holding:
            for report in reports:
                self._begun.pop((report.job, report.attempt), None)
                self._values.release((report.job, report.attempt))
        self._reports.add_all(reports, recorded)
        self._hurry()
        return recorded.done

    def returned(self, attempts: Sequence[Holding]) -> None:
        self._returned.extend(attempts)
        for holding in attempts:
            self._values.release((holding.job, holding.attempt))
        self._arm()

    def output(self, job: JobId, stream: int, offset: int, data: bytes) -> Deferred[bool]:
        return self._outputs.send(job, stream, offset, data)

    def state(self, state: dict[str, Any]) -> None:
        """Told now or never: the next one comes soon."""
        if self._connection is not None:
            self._connection.call(WorkerState, state=state).addErrback(lambda _failure: None)

    def fetch(self, ref: BlobRef) -> Deferred[Path]:
        return Deferred.fromCoroutine(self._values.fetch(ref))

    def store(self, ref: BlobRef, path: Path) -> Deferred[None]:
        return Deferred.fromCoroutine(self._values.store(ref, path))

    # -- from the agent ---------------------------------------------------------------------------

    def connected(self, connection: Connection) -> None:
        """The worker has joined over this connection; what was kept goes out."""
        self._connection = connection
        self._outputs.connected(connection)
        self._values.connected(connection)
        self._flush()

    def disconnected(self) -> None:
        """Keep everything that was not answered, in its order, for the next connection."""
        if self._connection is None:
            return
        self._connection = None
        self._outputs.disconnected()
        self._values.disconnected()
        self._refused.clear()
        frames, self._unanswered = self._unanswered, []
        for frame in reversed(frames):
            self._put_back(frame)

    def assigned(self, assignments: Iterable[Assignment]) -> None:
        """Keep the values on disk that these refer to, until they are reported or given back."""
        self._values.assigned(assignments)

    def reported(self) -> list[Holding]:
        """The attempts whose reports nobody has acknowledged: they still count as held."""
        frames = (kept for frame in self._unanswered for kept in frame.reports)
        return [*(holding_of(report) for report, _ in frames), *self._reports.holdings()]

    def waiting(self) -> dict[str, int]:
        """What waits to be sent: ``{reports, bytes}``, the bytes of those in files."""
        reports = sum(len(frame.reports) for frame in self._unanswered) + len(self._reports)
        return {"reports": reports, "bytes": self._reports.spooled + self._values.waiting}

    def drop(self, holdings: Iterable[Holding]) -> None:
        """Forget what concerns these attempts: their reports are not wanted."""
        dropped = set(holdings)
        if not dropped:
            return
        self._reports.drop(dropped)
        self._returned = [holding for holding in self._returned if holding not in dropped]
        for key in dropped:
            self._begun.pop((key.job, key.attempt), None)
            self._values.release((key.job, key.attempt))
        self._tell_if_flushed()

    def forget(self) -> None:
        """Another store answers: nothing of the old one is wanted any more. While disconnected."""
        self._begun.clear()
        self._returned.clear()
        self._reports.forget()
        self._outputs.forget()
        self._room.forget()
        self._values.forget()

    def flushed(self) -> Deferred[None]:
        """Fires when nothing waits for an answer any more."""
        waiter: Deferred[None] = Deferred(self._flush_waiters.remove)
        self._flush_waiters.append(waiter)
        self._tell_if_flushed()
        return waiter

    def stop(self) -> None:
        """Send nothing any more."""
        self.disconnected()
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        self.forget()

    # -- frames -----------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Send when the turn is over, or at once where a frame is full."""
        if self._connection is None:
            return
        if self._reports.ready >= self._connection.frame_jobs:
            self._flush()
        if self._flushing is None and self._connection is not None:
            self._flushing = self._reactor.callLater(0, self._flush)

    def _hurry(self) -> None:
        """Send reports at once, if that was not done a moment ago: what comes soon after goes
        together, when that moment is over or a frame is full."""
        if self._connection is None:
            return
        if self._reports.ready >= self._connection.frame_jobs:
            self._flush()
        elif self._flushing is None:
            if wait := self._pace.wait(len(self._unanswered)):
                self._flushing = self._reactor.callLater(wait, self._flush)
            else:
                self._flush()

    def _flush(self) -> None:
        if self._flushing is not None and self._flushing.active():
            self._flushing.cancel()
        self._flushing = None
        with self._departures:
            while (connection := self._connection) is not None:
                if len(self._unanswered) >= FRAMES_IN_FLIGHT:
                    return
                frame = self._next_frame(connection.frame_jobs)
                if frame is None:
                    break
                self._send(connection, frame)
        self._tell_if_flushed()

    def _next_frame(self, jobs: int) -> _Frame | None:
        """What has begun goes before what was given back, and both before what has ended."""
        if self._begun:
            begun = tuple(self._begun.values())[:FRAME_JOBS]
            for beginning in begun:
                del self._begun[beginning.job, beginning.attempt]
            return _Frame(begun=begun)
        if self._returned:
            returned, self._returned = self._returned[:FRAME_JOBS], self._returned[FRAME_JOBS:]
            return _Frame(returned=tuple(returned))
        reports = [] if self._refused else self._take_reports(jobs)
        return _Frame(reports=tuple(reports)) if reports else None

    def _take_reports(self, jobs: int) -> list[Kept]:
        taken = self._reports.take(1 if self._alone else jobs, FRAME_BYTES)
        if self._alone:
            self._alone -= len(taken)
        return taken

    def _send(self, connection: Connection, frame: _Frame) -> None:
        self._unanswered.append(frame)
        if frame.reports:
            self._pace.left()
        frame.send(connection).addCallbacks(
            self._answered,
            self._failed,
            callbackArgs=(connection, frame),
            errbackArgs=(connection, frame),
        )

    def _answered(self, _answer: object, connection: Connection, frame: _Frame) -> None:
        if connection is not self._connection:
            return
        self._take_off(frame)
        for _report, recorded in frame.reports:
            recorded.one()
        if frame.reports:
            self._room.taken()
        self._flush()

    def _failed(self, failure: Failure, connection: Connection, frame: _Frame) -> None:
        if connection is not self._connection:
            return
        reports = frame.reports
        if failure.check(StorageFull):
            self._refused.append(frame)
            self._room.refused(str(failure.value))
            return
        hopeless = not reports or (len(reports) == 1 and _is_short(reports[0][0]))
        if hopeless or not failure.check(Malformed, TooLarge):
            connection.abort()  # if it is not lost already; the next one may take it
            return
        self._log.failure("the coordinator refused {n} reports", failure, n=len(reports))
        self._take_off(frame)
        if len(reports) == 1:
            report, recorded = reports[0]
            frame = _Frame(reports=((_shortened(report, str(failure.value)), recorded),))
        self._put_back(frame)
        self._alone += len(reports)
        self._flush()

    def _take_off(self, frame: _Frame) -> None:
        # by identity: two frames may hold equal records
        self._unanswered = [other for other in self._unanswered if other is not frame]

    def _put_back(self, frame: _Frame) -> None:
        self._reports.put_back(frame.reports)
        reported = set(self._reports.holdings()) if frame.begun else ()
        for beginning in frame.begun:
            if (beginning.job, beginning.attempt) not in reported:
                self._begun.setdefault((beginning.job, beginning.attempt), beginning)
        self._returned[:0] = frame.returned

    def _try_again(self) -> None:
        """There may be room again for what was refused."""
        refused, self._refused = self._refused, []
        frames = [frame for frame in self._unanswered if any(frame is one for one in refused)]
        for frame in reversed(frames):
            self._take_off(frame)
            self._put_back(frame)
        self._flush()

    def _changed(self) -> None:
        """Reports went to a file, or came from one; perhaps while a frame is being filled."""
        self._weigh()
        if self._connection is not None and self._flushing is None:
            self._flushing = self._reactor.callLater(0, self._flush)

    def _weigh(self) -> None:
        """Much more may wait than begins to be too much, less than half is little again."""
        spooled = self._reports.spooled + self._values.waiting
        limit = self._kept_bytes // 2 if self.full else self._kept_bytes
        full = spooled > limit or self._reports.failed
        if full != self.full:
            self.full = full
            self.on_full(full)

    def _tell_if_flushed(self) -> None:
        if self._begun or self._returned or self._reports or self._unanswered:
            return
        waiters, self._flush_waiters = self._flush_waiters, []
        for waiter in waiters:
            waiter.callback(None)


def _is_short(report: Report) -> bool:
    return len(report.body) + len(report.log) < _SHORT_BYTES


def _shortened(report: Report, why: str) -> Report:
    """In the place of a report that the coordinator does not take."""
    error = ErrorText("ampacity.protocol.errors.TooLarge", f"the job's report: {why:.500}", "")
    return report._replace(
        ending=Ending.FAILED, body=pack_outcome(Outcome(error=error)), blobs=(), log=b""
    )
