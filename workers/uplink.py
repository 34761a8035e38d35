"""The coordinator, as seen by the slots of a worker on another machine.

What happens here is written down in the turn that it happens in, and goes out in frames when that
turn is over. A record stays until its frame is answered: when a connection goes, all that was not
answered is put back in front and goes out again on the next one. The coordinator refuses what it
knows already.

Nothing here waits for a connection with a timer: ``Agent`` says when there is one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.commands import Begun, Finished, Returned, WorkerState
from ..protocol.errors import CoordinatorLost, Disconnected, Malformed, TooLarge
from ..protocol.ids import Attempt, JobId
from ..protocol.jobs import Assignment, BlobRef, unpack_spec
from ..protocol.limits import FRAME_BYTES, FRAME_JOBS, FRAMES_IN_FLIGHT
from ..protocol.outcomes import Ending, ErrorText, Outcome, Report, pack_outcome, pack_reports
from ..protocol.ports import Beginning, Holding
from ..protocol.transfers import download, upload
from .outputs import Outputs

if TYPE_CHECKING:
    from ..protocol.connection import Connection
    from ..protocol.transfers import DeferToThread
    from .blobcache import BlobCache

_RECORD_BYTES = 80
_SHORT_BYTES = 4096


class _Recorded:
    """Fires when all reports that were handed over at once are recorded."""

    __slots__ = ("done", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.done: Deferred[None] = Deferred()

    def one(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.done.callback(None)


_Kept = tuple[Report, _Recorded]


class _Frame(NamedTuple):
    """What is on its way: exactly one of these is not empty."""

    begun: tuple[Beginning, ...] = ()
    returned: tuple[Holding, ...] = ()
    reports: tuple[_Kept, ...] = ()

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
        self, reactor: IReactorTime, cache: BlobCache, defer_to_thread: DeferToThread
    ) -> None:
        self._reactor = reactor
        self._cache = cache
        self._defer_to_thread = defer_to_thread
        self._outputs = Outputs()
        self._connection: Connection | None = None
        self._flushing: IDelayedCall | None = None
        self._begun: dict[tuple[JobId, Attempt], Beginning] = {}
        self._returned: list[Holding] = []
        self._reports: deque[_Kept] = deque()
        self._alone = 0  # so many of them go in a frame of their own: one of them was refused
        self._unanswered: list[_Frame] = []
        self._blobs: dict[tuple[JobId, Attempt], tuple[BlobRef, ...]] = {}
        self._connection_waiters: list[Deferred[Connection]] = []
        self._flush_waiters: list[Deferred[None]] = []

    # -- ports.WorkerEvents -----------------------------------------------------------------------

    def begun(self, attempts: Sequence[Beginning]) -> None:
        """A child has started these; said in the report instead, if that comes in the same turn."""
        for beginning in attempts:
            self._begun[beginning.job, beginning.attempt] = beginning
        self._arm()

    def finished(self, reports: Sequence[Report]) -> Deferred[None]:
        """Fires when the reports are recorded, or will never be wanted."""
        recorded = _Recorded(len(reports))
        if not reports:
            recorded.done.callback(None)
            return recorded.done
        begun, blobs = self._begun, self._blobs
        for report in reports:
            key = report.job, report.attempt
            if begun:
                begun.pop(key, None)
            if blobs:
                self._release(key)
            self._reports.append((report, recorded))
        self._arm()
        return recorded.done

    def returned(self, attempts: Sequence[Holding]) -> None:
        self._returned.extend(attempts)
        for holding in attempts:
            self._release((holding.job, holding.attempt))
        self._arm()

    def output(self, job: JobId, stream: int, offset: int, data: bytes) -> Deferred[bool]:
        return self._outputs.send(job, stream, offset, data)

    def state(self, state: dict[str, Any]) -> None:
        """Told now or never: the next one comes soon."""
        if self._connection is not None:
            self._connection.call(WorkerState, state=state).addErrback(lambda _failure: None)

    def fetch(self, ref: BlobRef) -> Deferred[Path]:
        return Deferred.fromCoroutine(self._fetch(ref))

    def store(self, ref: BlobRef, path: Path) -> Deferred[None]:
        return Deferred.fromCoroutine(self._store(ref, path))

    # -- from the agent ---------------------------------------------------------------------------

    def connected(self, connection: Connection) -> None:
        """The worker has joined over this connection; what was kept goes out."""
        self._connection = connection
        self._outputs.connected(connection)
        waiters, self._connection_waiters = self._connection_waiters, []
        for waiter in waiters:
            waiter.callback(connection)
        self._flush()

    def disconnected(self) -> None:
        """Keep everything that was not answered, in its order, for the next connection."""
        if self._connection is None:
            return
        self._connection = None
        self._outputs.disconnected()
        frames, self._unanswered = self._unanswered, []
        for frame in reversed(frames):
            self._put_back(frame)

    def assigned(self, assignments: Iterable[Assignment]) -> None:
        """Keep the values on disk that these refer to, until they are reported or given back."""
        for job, attempt, spec, payload, _client in assignments:
            refs = _blobs_of(spec)
            if type(payload) is BlobRef:
                refs = (*refs, payload)
            if refs and (job, attempt) not in self._blobs:
                self._blobs[job, attempt] = refs
                self._cache.hold(refs)

    def reported(self) -> list[Holding]:
        """The attempts whose reports nobody has acknowledged: they still count as held."""
        frames = (kept for frame in self._unanswered for kept in frame.reports)
        return [Holding(kept.job, kept.attempt) for kept, _ in (*frames, *self._reports)]

    def drop(self, holdings: Iterable[Holding]) -> None:
        """Forget what concerns these attempts: their reports are not wanted."""
        dropped = {(holding.job, holding.attempt) for holding in holdings}
        kept, self._reports = self._reports, deque()
        for item in kept:
            if (item[0].job, item[0].attempt) in dropped:
                item[1].one()
            else:
                self._reports.append(item)
        self._returned = [h for h in self._returned if (h.job, h.attempt) not in dropped]
        for key in dropped:
            self._begun.pop(key, None)
            self._release(key)

    def forget(self) -> None:
        """Another store answers: nothing of the old one is wanted any more. While disconnected."""
        self._begun.clear()
        self._returned.clear()
        kept, self._reports = self._reports, deque()
        for _report, recorded in kept:
            recorded.one()
        for key in list(self._blobs):
            self._release(key)
        self._outputs.forget()
        waiters, self._connection_waiters = self._connection_waiters, []
        for waiter in waiters:
            waiter.errback(CoordinatorLost())

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
        if len(self._reports) >= FRAME_JOBS:
            self._flush()
        elif self._flushing is None:
            self._flushing = self._reactor.callLater(0, self._flush)

    def _flush(self) -> None:
        if self._flushing is not None and self._flushing.active():
            self._flushing.cancel()
        self._flushing = None
        while (connection := self._connection) is not None:
            if len(self._unanswered) >= FRAMES_IN_FLIGHT:
                return
            frame = self._next_frame()
            if frame is None:
                break
            self._send(connection, frame)
        self._tell_if_flushed()

    def _next_frame(self) -> _Frame | None:
        """What has begun goes before what was given back, and both before what has ended."""
        if self._begun:
            begun = tuple(self._begun.values())[:FRAME_JOBS]
            for beginning in begun:
                del self._begun[beginning.job, beginning.attempt]
            return _Frame(begun=begun)
        if self._returned:
            returned, self._returned = self._returned[:FRAME_JOBS], self._returned[FRAME_JOBS:]
            return _Frame(returned=tuple(returned))
        if self._reports:
            return _Frame(reports=tuple(self._take_reports()))
        return None

    def _take_reports(self) -> list[_Kept]:
        reports, size = self._reports, 0
        taken: list[_Kept] = []
        most = 1 if self._alone else FRAME_JOBS
        self._alone = max(self._alone - 1, 0)
        while reports and len(taken) < most and size < FRAME_BYTES:
            kept = reports.popleft()
            taken.append(kept)
            size += _RECORD_BYTES + len(kept[0].body) + len(kept[0].log)
        return taken

    def _send(self, connection: Connection, frame: _Frame) -> None:
        self._unanswered.append(frame)
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
        self._flush()

    def _failed(self, failure: Failure, connection: Connection, frame: _Frame) -> None:
        if connection is not self._connection:
            return
        reports = frame.reports
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
        reported = {(kept.job, kept.attempt) for kept, _ in self._reports} if frame.begun else ()
        for beginning in frame.begun:
            if (beginning.job, beginning.attempt) not in reported:
                self._begun.setdefault((beginning.job, beginning.attempt), beginning)
        self._returned[:0] = frame.returned
        self._reports.extendleft(reversed(frame.reports))

    def _tell_if_flushed(self) -> None:
        if self._begun or self._returned or self._reports or self._unanswered:
            return
        waiters, self._flush_waiters = self._flush_waiters, []
        for waiter in waiters:
            waiter.callback(None)

    # -- blobs ------------------------------------------------------------------------------------

    async def _fetch(self, ref: BlobRef) -> Path:
        cache = self._cache
        if not cache.has(ref):
            await self._over_connections(lambda up: download(up, ref, cache.blobs))
        return cache.take(ref)

    async def _store(self, ref: BlobRef, path: Path) -> None:
        try:
            await self._over_connections(lambda up: upload(up, ref, path, self._defer_to_thread))
        finally:
            await self._defer_to_thread(path.unlink, True)

    async def _over_connections(self, transfer: Callable[[Connection], Deferred[None]]) -> None:
        """Do it on this connection, or else on the next: whatever fails with its connection."""
        while True:
            connection = await self._connect()
            try:
                return await transfer(connection)
            except Disconnected:
                continue

    async def _connect(self) -> Connection:
        connection = self._connection
        if connection is not None and connection.lost is None:
            return connection
        waiter: Deferred[Connection] = Deferred(self._connection_waiters.remove)
        self._connection_waiters.append(waiter)
        return await waiter

    def _release(self, key: tuple[JobId, Attempt]) -> None:
        refs = self._blobs.pop(key, None)
        if refs is not None:
            self._cache.release(refs)


def _is_short(report: Report) -> bool:
    return len(report.body) + len(report.log) < _SHORT_BYTES


def _shortened(report: Report, why: str) -> Report:
    """In the place of a report that the coordinator does not take."""
    error = ErrorText("ampacity.protocol.errors.TooLarge", f"the job's report: {why:.500}", "")
    return report._replace(
        ending=Ending.FAILED, body=pack_outcome(Outcome(error=error)), blobs=(), log=b""
    )


@lru_cache(maxsize=1024)
def _blobs_of(spec: bytes) -> tuple[BlobRef, ...]:
    try:
        return unpack_spec(spec).blobs()
    except Malformed:
        return ()  # the slots report it, with the job's name
