"""The driver as one worker sees it, and as one session of a client sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed

from ..protocol.errors import (
    Disconnected,
    Malformed,
    NoSuchBlob,
    NoSuchWorker,
    NotAllowed,
    StorageFull,
    TooLarge,
)
from ..protocol.ids import JobId, WorkerId
from ..protocol.jobs import BlobRef, Submission
from ..protocol.outcomes import JobLog, Report
from ..protocol.ports import Accepted, Beginning, ClientPort, Holding, WorkerPort
from ..protocol.tokens import Role
from .events import (
    Begun,
    CancelAsked,
    Finished,
    ForgetAsked,
    GroupClosed,
    RetryAsked,
    Returned,
    Submitted,
    WatchAsked,
)
from .outbox import Outbox
from .permissions import Asker, check_command
from .records import SessionRecord, WorkerRecord
from .store import nothing_on_disk
from .transitions import ENDED

if TYPE_CHECKING:
    from .driver import Driver


P = ParamSpec("P")
T = TypeVar("T")


class BoundWorker:
    """``ports.WorkerEvents`` for one connection of a worker."""

    def __init__(self, driver: Driver, record: WorkerRecord, port: WorkerPort) -> None:
        self.record = record
        self.port: WorkerPort | None = port
        """None once the connection is gone; events that still come are those of a ghost."""
        self.load: dict[str, Any] = {}
        self._driver = driver

    def begun(self, attempts: Sequence[Beginning]) -> None:
        if self.port is not None:
            self._driver.handle(Begun(self._driver.moment(), self.record.name, attempts))

    def finished(self, reports: Sequence[Report]) -> Deferred[None]:
        if self.port is None:
            return fail(Disconnected())
        self._driver.handle(Finished(self._driver.moment(), self.record.name, reports))
        return self._driver.committed()

    def returned(self, attempts: Sequence[Holding]) -> None:
        if self.port is not None:
            self._driver.handle(Returned(self._driver.moment(), self.record.name, attempts))

    def output(self, job: JobId, stream: int, offset: int, data: bytes) -> Deferred[bool]:
        return self._driver.listeners.output(self.record, job, stream, offset, data)

    def state(self, state: dict[str, Any]) -> None:
        self.load = state

    def fetch(self, ref: BlobRef) -> Deferred[Path]:
        return maybeDeferred(self._driver.blobs.path, ref)

    def store(self, ref: BlobRef, path: Path) -> Deferred[None]:
        return self._driver.blobs.adopt(ref, path, move=True)


def _asks(
    command: bytes,
) -> Callable[
    [Callable[Concatenate[BoundSession, P], Deferred[T]]],
    Callable[Concatenate[BoundSession, P], Deferred[T]],
]:
    """A question of a session: refused where the role may not give this command."""

    def of(
        method: Callable[Concatenate[BoundSession, P], Deferred[T]],
    ) -> Callable[Concatenate[BoundSession, P], Deferred[T]]:
        @wraps(method)
        def ask(self: BoundSession, /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
            try:
                check_command(self.role, command)
            except NotAllowed as refusal:
                return fail(refusal)
            return method(self, *args, **kwargs)

        return ask

    return of


class BoundSession:
    """``ports.Coordinator`` for one connection of a client's session."""

    def __init__(
        self,
        driver: Driver,
        record: SessionRecord,
        port: ClientPort,
        outbox: Outbox,
        role: Role = "client",
    ) -> None:
        self.record = record
        self.opening = record.openings
        self.port: ClientPort | None = port
        self.outbox = outbox
        self.role = role
        self._asker = Asker(record.client.id, role)
        self._driver = driver

    # -- jobs -------------------------------------------------------------------------------------

    @_asks(b"Submit")
    def submit(
        self, sequence: int, submissions: Sequence[Submission], group: int | None
    ) -> Deferred[Accepted]:
        driver = self._driver
        try:
            missing = driver.missing_blobs(self.record.client.id, submissions)
        except (Malformed, TooLarge) as error:
            return fail(error)
        if missing:
            return succeed(Accepted(missing=missing))
        at = driver.moment()
        return driver.ask(
            lambda ask: Submitted(at, ask, self.record.id, sequence, group, submissions)
        )

    @_asks(b"CloseGroup")
    def close_group(self, group: int, size: int) -> Deferred[None]:
        at = self._driver.moment()
        return self._driver.ask(lambda ask: GroupClosed(at, ask, self.record.id, group, size))

    @_asks(b"Cancel")
    def cancel(self, jobs: Sequence[JobId], queued_only: bool = False) -> Deferred[dict[int, str]]:
        at, client = self._driver.moment(), self._asker.by_id
        return self._driver.ask(lambda ask: CancelAsked(at, ask, client, jobs, queued_only))

    @_asks(b"Retry")
    def retry(self, jobs: Sequence[JobId]) -> Deferred[dict[int, int]]:
        at, client = self._driver.moment(), self._asker.by_id
        return self._driver.ask(lambda ask: RetryAsked(at, ask, client, jobs))

    @_asks(b"Forget")
    def forget(self, jobs: Sequence[JobId]) -> Deferred[dict[int, str]]:
        at, client = self._driver.moment(), self._asker.by_id
        return self._driver.ask(lambda ask: ForgetAsked(at, ask, client, jobs))

    @_asks(b"Watch")
    def watch(self, jobs: Sequence[JobId]) -> Deferred[list[int]]:
        at, client = self._driver.moment(), self._asker.by_id
        return self._driver.ask(lambda ask: WatchAsked(at, ask, client, self.record.id, jobs))

    @_asks(b"Query")
    def query(self, question: str, details: dict[str, Any]) -> Deferred[Any]:
        self._driver.stir()
        return self._driver.questions.ask(self._asker, question, details)

    # -- output -----------------------------------------------------------------------------------

    @_asks(b"Attach")
    def attach(self, job: JobId, follow: bool) -> Deferred[tuple[JobLog, bool]]:
        driver, session, asker = self._driver, self.record.id, self._asker
        record = driver.scheduler.state.jobs.get(job)
        if record is not None and asker.may_see(record.client.id):
            return driver.listeners.attach(session, record, follow)
        return driver.questions.seen_by(asker, job).addCallback(
            lambda kept: driver.listeners.attach_cold(session, job, kept.state >= ENDED, follow)
        )

    @_asks(b"Detach")
    def detach(self, job: JobId) -> Deferred[None]:
        self._driver.listeners.detach(self.record.id, job)
        return succeed(None)

    # -- values, and the coordinator itself -------------------------------------------------------

    @_asks(b"PutChunk")
    def put_blob(self, ref: BlobRef, path: Path) -> Deferred[None]:
        if full := self._driver.no_room():
            return fail(StorageFull(full))
        client, values = self.record.client.id, self._driver.values
        stored = self._driver.blobs.adopt(ref, path, move=False)
        return stored.addCallback(lambda _: values.sent(client, ref.digest))

    @_asks(b"GetChunk")
    def get_blob(self, ref: BlobRef) -> Deferred[Path]:
        if not self._driver.values.may_read(self.record.client.id, ref.digest):
            return fail(NoSuchBlob())
        return maybeDeferred(self._driver.blobs.path, ref)

    @_asks(b"ReloadWorkers")
    def reload_workers(self) -> Deferred[int]:
        ports = [bound.port for bound in self._driver.workers.values() if bound.port is not None]
        for port in ports:
            port.reload()
        return succeed(len(ports))

    @_asks(b"DrainWorker")
    def drain_worker(self, worker: str) -> Deferred[None]:
        bound = self._driver.workers.get(WorkerId(worker))
        if bound is None or bound.port is None:
            return fail(NoSuchWorker(f"no worker {worker!r:.80} is connected"))
        return maybeDeferred(bound.port.drain)

    @_asks(b"Backup")
    def backup(self, folder: Path) -> Deferred[dict[str, Any]]:
        store = self._driver.durable
        return nothing_on_disk() if store is None else store.backup(folder)

    @_asks(b"Shutdown")
    def shutdown(self) -> Deferred[None]:
        self._driver.shut_down()
        return succeed(None)
