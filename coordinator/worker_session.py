"""A worker's connection, on the coordinator's side: reports in, assignments out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from ..protocol import commands
from ..protocol.columns import Column, all_of, columns, tuples
from ..protocol.connection import Connection
from ..protocol.errors import Disconnected, Malformed, NotAllowed, TooLarge
from ..protocol.frames import batches
from ..protocol.ids import Attempt, JobId, WorkerId
from ..protocol.jobs import Assignment, BlobRef, pack_assignments
from ..protocol.limits import (
    BODY_BYTES,
    FRAME_JOBS,
    HELD_ATTEMPTS,
    JOBS_A_QUESTION,
    LARGE_FRAME_JOBS,
    MAX_NUMBER,
    MAX_SECONDS,
    NAME_LENGTH,
)
from ..protocol.outcomes import JobLog, Report, unpack_log, unpack_reports
from ..protocol.ports import (
    Beginning,
    CoordinatorCore,
    Ended,
    Holding,
    WorkerEvents,
    WorkerInfo,
)
from ..protocol.transfers import BlobResponder

if TYPE_CHECKING:
    from ..protocol.blobs import BlobFolder

_MOST_SLOTS = 65_536

_READABLE = 1024
"""Values of which it is remembered that a worker may read them."""

_MISSES = 1000
"""Values that no job of the worker needs, until it is cut off: each costs a look at all of them."""
_LATEST = 2.0**37
"""UNIX time that nobody lives to see."""

_MOST_BLOBS = 16
"""Values that one report may refer to."""

_STATE_DEPTH = 4
"""Maps within maps, in what a worker says of its state."""


class WorkerSession(BlobResponder):
    """Passes one worker's events to the core, and is its ``WorkerPort``."""

    log = Logger()

    def __init__(self, core: CoordinatorCore, blobs: BlobFolder, connection: Connection) -> None:
        self.blobs = blobs
        self.owner = connection.owner
        self._core = core
        self._connection = connection
        self._worker: WorkerId | None = None
        self._incarnation = b""
        self._events: WorkerEvents | None = None
        self._readable: dict[bytes, None] = {}
        self._misses = 0
        self.on_joined: Callable[[WorkerId], object] | None = None
        connection.on_lost(lambda _: self._leave(goodbye=False))
        connection.on_lost(lambda _: self.drop_uploads())

    # -- joining and leaving ----------------------------------------------------------------------

    @commands.Join.responder
    def join(self, info: Any, held: Any) -> dict[str, Any]:
        about, holdings = _info(info), _holdings(held, HELD_ATTEMPTS)
        if self._worker is not None and not self._may_join_again(about):
            raise NotAllowed("a connection is of one worker")
        self._incarnation = about.incarnation
        self._worker, self._events, drop = self._core.join(about, holdings, self)
        if self.on_joined is not None:
            self.on_joined(self._worker)
        return {"name": self._worker, "drop": [(job, *attempt) for job, attempt in drop]}

    def _may_join_again(self, about: WorkerInfo) -> bool:
        """With no slots, to be given nothing any more: it is about to leave."""
        same = about.incarnation == self._incarnation
        return same and about.slots == 0 and self._events is not None

    @commands.Goodbye.responder
    def goodbye(self) -> dict[str, Any]:
        self._leave(goodbye=True)
        return {}

    def dismiss(self) -> None:
        """Its credential is good no more: it leaves for good."""
        self._leave(goodbye=True)

    def _leave(self, goodbye: bool) -> None:
        if self._events is not None and self._worker is not None:
            self._events = None
            self._core.leave(self._worker, self, goodbye)

    @property
    def _joined(self) -> WorkerEvents:
        if self._events is None:
            raise NotAllowed("a worker joins first")
        return self._events

    # -- from the worker --------------------------------------------------------------------------

    @commands.Begun.responder
    def begun(self, attempts: Any) -> dict[str, Any]:
        self._joined.begun(_beginnings(attempts))
        return {}

    @commands.Finished.responder
    def finished(self, reports: bytes) -> Deferred[dict[str, Any]]:
        recorded = self._joined.finished(_checked(unpack_reports(reports)))
        return recorded.addCallback(lambda _: {})

    @commands.Returned.responder
    def returned(self, attempts: Any) -> dict[str, Any]:
        self._joined.returned(_holdings(attempts))
        return {}

    @commands.Output.responder
    async def output_of(self, job: int, stream: int, offset: int, data: bytes) -> dict[str, Any]:
        if stream not in (1, 2) or offset < 0:
            raise Malformed("a job has the streams 1 and 2, from offset 0")
        return {"wanted": await self._joined.output(JobId(job), stream, offset, data)}

    @commands.WorkerState.responder
    def state(self, state: Any) -> dict[str, Any]:
        if type(state) is not dict or not _is_plain(state, _STATE_DEPTH):
            raise Malformed("a worker's state is a map of texts, numbers and such maps")
        self._joined.state(state)
        return {}

    def check_upload(self, ref: BlobRef) -> None:
        self._core.uploads.check(self.owner, ref, worker=True)

    def may_get(self, digest: bytes) -> bool:
        """Workers fetch what the jobs that they hold need; what is begun may be ended."""
        if self._events is None or self._worker is None:
            return False
        readable = self._readable
        if digest not in readable:
            if not self._core.values.worker_may_read(self._worker, digest):
                self._misses += 1
                if self._misses > _MISSES:
                    self._connection.drop("it asks for values that its jobs do not need")
                return False
            if len(readable) >= _READABLE:
                del readable[next(iter(readable))]
            readable[digest] = None
        return True

    # -- to the worker ----------------------------------------------------------------------------

    def assign(self, assignments: Sequence[Assignment]) -> None:
        frame_jobs = self._connection.frame_jobs
        for batch in batches(assignments, _Sizes(), _most(assignments), frame_jobs):
            self._tell(commands.Assign, jobs=pack_assignments(batch))

    def end(self, attempts: Sequence[Ended]) -> None:
        told = [(job, *attempt, why) for job, attempt, why in attempts]
        self._tell(commands.EndAttempts, attempts=told)

    def retract(self, attempts: Sequence[Holding]) -> None:
        self._tell(commands.Retract, attempts=[(job, *attempt) for job, attempt in attempts])

    def reload(self) -> None:
        self._tell(commands.Reload)

    def drain(self) -> None:
        if self._connection.version < 2:
            raise NotAllowed("this worker is too old to be told; end it with SIGTERM")
        self._tell(commands.Drain)

    def given_up(self) -> None:
        self._connection.drop("it could not be told what to do; the log says more")

    def attach(self, job: JobId, follow: bool) -> Deferred[JobLog]:
        answer = self._connection.call(commands.AttachWorker, job=job, follow=follow)
        return answer.addCallback(lambda attached: unpack_log(attached["log"]))

    def _tell(self, command: type[amp.Command], **arguments: Any) -> None:
        self._connection.call(command, **arguments).addErrback(self._not_told, command)

    def _not_told(self, failure: Failure, command: type[amp.Command]) -> None:
        """A worker that may not know what it has to do is cut off; its lease mends the rest."""
        if failure.check(Disconnected) is None:
            self._connection.drop(f"it did not take {command.__name__}: {failure.value}")


def _most(assignments: Sequence[Assignment]) -> int:
    """The bytes that these take at most, if each frame of them had each of their specs."""
    specs = sum(map(len, set(map(_SPEC, assignments))))
    payloads = sum(map(len, map(_PAYLOAD, assignments)))  # a blob's reference is short
    return payloads + len(assignments) * _BESIDES + specs * (len(assignments) // FRAME_JOBS + 1)


_SPEC, _PAYLOAD = attrgetter("spec"), attrgetter("payload")
_BESIDES = 64
"""Bytes that an assignment takes besides its payload and its spec, at most."""


class _Sizes:
    """What an assignment adds to a frame, in bytes: jobs of one submission share their spec."""

    __slots__ = ("_spec",)

    def __init__(self) -> None:
        self._spec = b""

    def __call__(self, assignment: Assignment) -> int:
        size = _BESIDES if type(assignment.payload) is not bytes else 24 + len(assignment.payload)
        if assignment.spec is not self._spec:
            self._spec = assignment.spec
            size += len(self._spec)
        return size


_INFO: dict[str, type] = {
    "name": str,
    "incarnation": bytes,
    "slots": int,
    "python": str,
    "host": str,
    "software": str,
    "pid": int,
}


def _info(value: Any) -> WorkerInfo:
    """What a worker says of itself, from a map of the fields of ``WorkerInfo``.

    Raises:
        Malformed: a field is missing or does not fit.
    """
    if type(value) is not dict:
        raise Malformed("a worker's description is a map")
    given: dict[str, Any] = {name: value.get(name) for name in _INFO}
    for name, kind in _INFO.items():
        if type(given[name]) is not kind:
            raise Malformed(f"a worker's {name} is {kind.__name__}, not {given[name]!r:.40}")
        if kind is str and len(str(given[name])) > NAME_LENGTH:
            raise Malformed(f"a worker's {name} has at most {NAME_LENGTH} characters")
    info = WorkerInfo(**given)
    if not 0 <= info.pid <= MAX_NUMBER:
        raise Malformed("a worker's pid is a number from 0 to 2**62")
    if len(info.incarnation) != 16 or not 0 <= info.slots <= _MOST_SLOTS:
        raise Malformed("a worker has an incarnation of 16 bytes and 0 slots or more")
    return info


def _is_plain(value: Any, depth: int) -> bool:
    """Whether it can be shown to anybody, as text or as JSON."""
    if type(value) is dict:
        inside = all(type(name) is str and _is_plain(v, depth - 1) for name, v in value.items())
        return depth > 0 and inside
    if type(value) is list:
        return depth > 0 and all(_is_plain(place, depth - 1) for place in value)
    return value is None or type(value) in (str, bool) or _is_number(value)


def _is_number(value: Any) -> bool:
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is int and -MAX_NUMBER <= value <= MAX_NUMBER


def _fields(value: Any, most: int, fields: int) -> Sequence[Column]:
    """The columns of a list of lists of so many fields, the first three of them integers; a later
    version may append. There may be tens of thousands."""
    if type(value) is not list:
        raise Malformed("a list of attempts was expected")
    if len(value) > most:
        raise TooLarge(f"{len(value)} attempts in one list; the limit is {most}")
    found = columns(value, fields)
    if not all(all_of(column, int) for column in found[:3]):
        raise Malformed("an attempt is a job, a term and a number")
    return found


def _holdings(value: Any, most: int = JOBS_A_QUESTION) -> list[Holding]:
    jobs, terms, numbers = _fields(value, most, 3)
    return tuples(Holding, jobs, tuples(Attempt, terms, numbers))


def _beginnings(value: Any) -> list[Beginning]:
    jobs, terms, numbers, times = _fields(value, JOBS_A_QUESTION, 4)
    if not all_of(times, int, float) or not all(0 <= time <= _LATEST for time in times):
        raise Malformed("a time that is none")
    return tuples(Beginning, jobs, tuples(Attempt, terms, numbers), map(float, times))


def _checked(reports: list[Report]) -> list[Report]:
    """What would not fit on its way to a client is refused here.

    Raises:
        TooLarge: naming the limit.
    """
    if len(reports) > LARGE_FRAME_JOBS:
        raise TooLarge(f"{len(reports)} reports in one frame; the limit is {LARGE_FRAME_JOBS}")
    for _, _, _, began, seconds, body, blobs, log, _ in reports:
        if blobs and len(blobs) > _MOST_BLOBS:
            raise TooLarge(f"a report may refer to {_MOST_BLOBS} values")
        if not 0 <= seconds <= MAX_SECONDS or not 0 <= (began or 0) <= _LATEST:
            raise Malformed("a report's times are out of all bounds")
        if len(body) + len(log) > BODY_BYTES:
            raise TooLarge(f"a report may take {BODY_BYTES} bytes; values travel as blobs")
    return reports
