"""A client's connection, on the coordinator's side: commands in, deliveries out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.python.failure import Failure

from ..protocol import commands
from ..protocol.connection import Connection
from ..protocol.errors import Disconnected, Malformed, NotAllowed, QueueFull, StorageFull, TooLarge
from ..protocol.frames import batches
from ..protocol.ids import ClientId, JobId, SessionId
from ..protocol.jobs import BlobRef, Submission, unpack_submissions
from ..protocol.limits import (
    INLINE_LIMIT,
    JOBS_A_QUESTION,
    LARGE_FRAME_JOBS,
    MAX_NUMBER,
    NAME_LENGTH,
    SPEC_BYTES,
)
from ..protocol.outcomes import Delivery, pack_deliveries, pack_log
from ..protocol.ports import Accepted, Coordinator, CoordinatorCore
from ..protocol.tokens import Role
from ..protocol.transfers import BlobResponder
from .journal import Journal

if TYPE_CHECKING:
    from ..protocol.blobs import BlobFolder


class ClientSession(BlobResponder):
    """Answers one client's questions from the core, and is the ``ClientPort`` of its session."""

    def __init__(
        self,
        core: CoordinatorCore,
        blobs: BlobFolder,
        connection: Connection,
        client: ClientId,
        role: Role = "client",
    ) -> None:
        self.blobs = blobs
        self.owner = connection.owner
        self._core = core
        self._connection = connection
        self._client = client
        self._role = role
        self._session: SessionId | None = None
        self._coordinator: Coordinator | None = None
        self._journal = Journal(connection.clock, client, connection.peer)
        connection.on_lost(lambda _: self._journal.end())
        self._asked: set[Deferred[Any]] = set()
        connection.on_lost(lambda _: self._lost())
        connection.on_lost(lambda _: self.drop_uploads())

    # -- the session ------------------------------------------------------------------------------

    @commands.OpenSession.responder
    def open_session(self, session: bytes) -> dict[str, Any]:
        if self._session is not None:
            raise NotAllowed("a connection has one session")
        if len(session) != 16:
            raise Malformed("a session's name is 16 bytes")
        self._session = SessionId(session)
        self._coordinator, sequence = self._core.open_session(
            self._client, self._session, self, self._role
        )
        return {"next_sequence": sequence}

    @commands.Goodbye.responder
    def goodbye(self) -> dict[str, Any]:
        self._leave(goodbye=True)
        return {}

    def dismiss(self) -> None:
        """Its credential is good no more: the session ends."""
        self._leave(goodbye=True)

    def _lost(self) -> None:
        self._leave(goodbye=False)
        for asked in list(self._asked):
            asked.cancel()  # nobody is left to be answered

    def _leave(self, goodbye: bool) -> None:
        if self._coordinator is not None and self._session is not None:
            self._coordinator = None
            self._core.leave_session(self._session, self, goodbye)

    @property
    def _opened(self) -> Coordinator:
        if self._coordinator is None:
            raise NotAllowed("a session is opened first")
        return self._coordinator

    # -- jobs -------------------------------------------------------------------------------------

    @commands.Submit.responder
    def submit(self, sequence: int, group: int | None, jobs: bytes) -> Deferred[dict[str, Any]]:
        _check_numbers(sequence, group or 0)
        submissions = _checked(unpack_submissions(jobs), self._connection.caps.name_length)
        self._journal.count("submitted", len(submissions))
        accepted = self._opened.submit(sequence, submissions, group)
        return accepted.addCallbacks(_answer, self._not_accepted)

    def _not_accepted(self, failure: Failure) -> Failure:
        if self._connection.version < 2 and failure.check(StorageFull):
            return Failure(QueueFull(str(failure.value)))
        return failure

    @commands.CloseGroup.responder
    async def close_group(self, group: int, size: int) -> dict[str, Any]:
        _check_numbers(group, size)
        await self._opened.close_group(group, size)
        return {}

    @commands.Cancel.responder
    async def cancel(self, jobs: Any, queued_only: bool) -> dict[str, Any]:
        self._journal.count("asked to cancel", len(named := _ids(jobs)))
        return {"states": await self._opened.cancel(named, queued_only)}

    @commands.Retry.responder
    async def retry(self, jobs: Any) -> dict[str, Any]:
        self._journal.count("asked to retry", len(named := _ids(jobs)))
        return {"ids": await self._opened.retry(named)}

    @commands.Forget.responder
    async def forget(self, jobs: Any) -> dict[str, Any]:
        self._journal.count("asked to forget", len(named := _ids(jobs)))
        return {"states": await self._opened.forget(named)}

    @commands.Watch.responder
    async def watch(self, jobs: Any) -> dict[str, Any]:
        return {"unknown": await self._opened.watch(_ids(jobs))}

    @commands.Query.responder
    async def query(self, question: str, details: Any) -> dict[str, Any]:
        if type(details) is not dict or not all(type(name) is str for name in details):
            raise Malformed("the details of a question are a map")
        asked = self._opened.query(question, details)
        self._asked.add(asked)
        try:
            return {"answer": await asked}
        except CancelledError:
            raise Disconnected from None
        finally:
            self._asked.discard(asked)

    @commands.Attach.responder
    async def attach(self, job: int, follow: bool) -> dict[str, Any]:
        _check_numbers(job)
        log, live = await self._opened.attach(JobId(job), follow)
        return {"log": pack_log(log), "live": live}

    @commands.Detach.responder
    async def detach(self, job: int) -> dict[str, Any]:
        await self._opened.detach(JobId(job))
        return {}

    @commands.ReloadWorkers.responder
    async def reload_workers(self) -> dict[str, Any]:
        self._journal.note("has the workers' children replaced")
        return {"workers": await self._opened.reload_workers()}

    @commands.DrainWorker.responder
    async def drain_worker(self, worker: str) -> dict[str, Any]:
        self._journal.note(f"drains the worker {worker[:NAME_LENGTH]!r}")
        await self._opened.drain_worker(worker)
        return {}

    @commands.Backup.responder
    async def backup(self, folder: str) -> dict[str, Any]:
        if not Path(folder).is_absolute():
            raise Malformed("a backup's folder is named by its whole path")
        self._journal.note(f"asks for a backup in {folder!r:.200}")
        return {"report": await self._opened.backup(Path(folder))}

    @commands.Shutdown.responder
    async def shutdown(self) -> dict[str, Any]:
        self._journal.note("stops the coordinator")
        await self._opened.shutdown()
        return {}

    # -- to the client ----------------------------------------------------------------------------

    @property
    def frame_jobs(self) -> int:
        """Jobs that the client takes in one frame."""
        return self._connection.frame_jobs

    def delivered(self, outcomes: Sequence[Delivery]) -> Deferred[None]:
        most = _sum(map(_BODY, outcomes), len(outcomes))
        frames: list[Deferred[Any]] = [
            self._connection.call(commands.Delivered, outcomes=pack_deliveries(batch))
            for batch in batches(outcomes, _size, most, self.frame_jobs)
        ]
        if len(frames) == 1:
            return frames[0].addCallback(lambda _: None)
        all_of_them = gatherResults(frames, consumeErrors=True)
        return all_of_them.addCallbacks(lambda _: None, _first)

    def output(self, job: JobId, stream: int, offset: int, data: bytes) -> Deferred[bool]:
        answer = self._connection.call(
            commands.Output, job=job, stream=stream, offset=offset, data=data
        )
        return answer.addCallback(lambda taken: bool(taken["wanted"]))

    def check_upload(self, ref: BlobRef) -> None:
        self._core.uploads.check(self.owner, ref)

    def no_room(self) -> str:
        return self._core.no_room()

    def may_get(self, digest: bytes) -> bool:
        return self._coordinator is not None and self._core.values.may_read(self._client, digest)

    def has_sent(self, digest: bytes) -> bool:
        """Raises NotAllowed: there is no session."""
        return self._opened is not None and self._core.values.has_sent(self._client, digest)

    def sent(self, digest: bytes) -> None:
        self._core.values.sent(self._client, digest)


def _answer(accepted: Accepted) -> dict[str, Any]:
    return {
        "ids": accepted.ids,
        "group": accepted.group,
        "missing": accepted.missing,
        "warning": accepted.warning,
    }


_SPEC, _PAYLOAD, _KEY = attrgetter("spec"), attrgetter("payload"), attrgetter("key")


def _checked(submissions: list[Submission], name_length: int) -> list[Submission]:
    """What would not fit on its way to a worker is refused here.

    Raises:
        TooLarge: naming the limit.
    """
    if len(submissions) > LARGE_FRAME_JOBS:
        raise TooLarge(f"{len(submissions)} jobs in one frame; the limit is {LARGE_FRAME_JOBS}")
    sizes = map(len, map(_PAYLOAD, submissions))  # a blob's reference is short
    if max(sizes, default=0) <= INLINE_LIMIT and not any(map(_KEY, submissions)):
        specs = set(map(_SPEC, submissions))
        if max(map(len, specs), default=0) <= SPEC_BYTES:
            return submissions  # nearly every frame
    for spec, payload, key, _place in submissions:
        if type(payload) is bytes and len(payload) > INLINE_LIMIT:
            raise TooLarge(f"a payload over {INLINE_LIMIT} bytes travels as a blob")
        if len(spec) > SPEC_BYTES:
            raise TooLarge(f"what jobs have in common may take {SPEC_BYTES} bytes")
        if key is not None and len(key) > name_length:
            raise TooLarge(f"a key has at most {name_length} characters")
    return submissions


def _check_numbers(*numbers: int) -> None:
    if not all(0 <= number <= MAX_NUMBER for number in numbers):
        raise Malformed("a number is from 0 to 2**62")


def _ids(jobs: Any) -> list[JobId]:
    if type(jobs) is not list or not all(type(job) is int for job in jobs):
        raise Malformed("jobs are named by a list of numbers")
    _check_numbers(*jobs)
    if len(jobs) > JOBS_A_QUESTION:
        raise TooLarge(f"one question may name {JOBS_A_QUESTION} jobs")
    return jobs


_BODY = attrgetter("body")
_BESIDES = 16
"""Bytes that a delivery takes besides its body."""


def _sum(bodies: Iterable[bytes], count: int) -> int:
    return sum(map(len, bodies)) + count * _BESIDES


def _size(delivery: Delivery) -> int:
    return len(delivery.body) + _BESIDES


def _first(failure: Failure) -> Failure:
    """The failure inside what ``gatherResults`` makes of it."""
    failed = getattr(failure.value, "subFailure", failure)
    assert isinstance(failed, Failure)
    return failed
