"""How the parts speak to each other, whether a wire lies between them or not.

The same calls are made in one process (``Pool()``, ``ampacity up``) and over AMP: there, a session
or an agent's uplink stands for the other side. Nothing here blocks, and nothing returns late
except by a Deferred.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import attrs
from twisted.internet.defer import Deferred

from .ids import Attempt, ClientId, GroupId, JobId, SessionId, WorkerId
from .jobs import Assignment, BlobRef, Submission
from .outcomes import Delivery, JobLog, Report
from .tokens import Role


class Holding(NamedTuple):
    """One attempt, named."""

    job: JobId
    attempt: Attempt


class Beginning(NamedTuple):
    """One attempt that a child has started, and when (UNIX time)."""

    job: JobId
    attempt: Attempt
    began: float


class Ended(NamedTuple):
    """One attempt to be ended, and why: ``cancelled``, ``deadline`` or ``superseded``."""

    job: JobId
    attempt: Attempt
    why: str


@attrs.frozen(kw_only=True)
class WorkerInfo:
    """What a worker says of itself when it joins."""

    name: str
    """What it would like to be called; the coordinator makes it unique."""
    incarnation: bytes
    """16 random bytes a process: tells a reconnection from a restart."""
    slots: int
    """0 from a worker that joined before and is about to leave: it is given nothing any more."""
    python: str
    """The children's Python, as ``3.11``."""
    host: str
    """The machine, as ``workers.machine.identity()`` names it."""
    software: str
    """ampacity's version."""
    pid: int = 0


# -- the coordinator and a worker -----------------------------------------------------------------


class WorkerPort(Protocol):
    """What the coordinator asks of a worker: the slots of this process, or a session's far end."""

    def assign(self, assignments: Sequence[Assignment]) -> None: ...

    def end(self, attempts: Sequence[Ended]) -> None:
        """End attempts. A ``superseded`` one is not reported; the others are, by ``finished``."""

    def retract(self, attempts: Sequence[Holding]) -> None:
        """Ask for attempts that have not begun; ``returned`` names those that are given back."""

    def attach(self, job: JobId, follow: bool) -> Deferred[JobLog]:
        """What a held job printed so far; with ``follow``, ``output`` is called from there on.

        Fails with ``NoSuchJob`` where the worker does not hold it.
        """

    def reload(self) -> None:
        """Replace the children."""

    def drain(self) -> None:
        """Finish what runs within its grace, give back the rest, and leave for good."""

    def given_up(self) -> None:
        """An order could not be told: the coordinator takes the worker for one that has left.

        It forgets what it holds, and may join again.
        """


class WorkerEvents(Protocol):
    """What a worker tells the coordinator; bound to the worker, by ``Driver.join`` or an uplink."""

    def begun(self, attempts: Sequence[Beginning]) -> None: ...

    def finished(self, reports: Sequence[Report]) -> Deferred[None]:
        """Fires when the reports are recorded; until then the worker keeps them."""

    def returned(self, attempts: Sequence[Holding]) -> None:
        """Attempts that are given back and count nothing: not begun, or ended by a drain."""

    def output(self, job: JobId, stream: int, offset: int, data: bytes) -> Deferred[bool]:
        """Fires when the data has been taken; with False where nobody listens any more.

        ``offset``: bytes that the attempt has printed on this stream before.
        """

    def state(self, state: dict[str, Any]) -> None:
        """What ``workers`` and ``top`` show."""

    def fetch(self, ref: BlobRef) -> Deferred[Path]:
        """A blob as a file on this machine, not to be written to. Fails with ``NoSuchBlob``."""

    def store(self, ref: BlobRef, path: Path) -> Deferred[None]:
        """Hand over a file with a blob's bytes; fires once it is stored, and takes the file."""


# -- the coordinator and a client -----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Accepted:
    """The answer to a frame of submissions. With ``missing``, nothing was accepted."""

    ids: tuple[tuple[int, int], ...] = ()
    """Runs of ids, ``(first, count)``, in the frame's order."""
    group: GroupId | None = None
    missing: tuple[bytes, ...] = ()
    warning: str | None = None


class ClientPort(Protocol):
    """What the coordinator tells one session of a client."""

    def delivered(self, outcomes: Sequence[Delivery]) -> Deferred[None]:
        """Fires when the client has them; fails when the connection went first."""

    def output(self, job: JobId, stream: int, offset: int, data: bytes) -> Deferred[bool]:
        """Fires when the data has been taken; with False where it is not wanted any more.

        ``offset``: bytes of the job's stream that the session was told before. Fails when the
        connection went first: the same comes again on the session's next one.
        """


class Coordinator(Protocol):
    """What a client asks; bound to its session by ``Driver.open_session`` or a connection.

    A call fails with one of ``errors.Refused``, ``NoSuchJob``, ``NoSuchGroup``, ``TooLarge``.
    """

    def submit(
        self, sequence: int, submissions: Sequence[Submission], group: int | None
    ) -> Deferred[Accepted]:
        """Accept jobs. ``group`` is the session's own number of a group, from 1."""

    def close_group(self, group: int, size: int) -> Deferred[None]:
        """All jobs of the session's own group have been submitted."""

    def cancel(self, jobs: Sequence[JobId], queued_only: bool = False) -> Deferred[dict[int, str]]:
        """The state that each job had, or ``unknown``."""

    def retry(self, jobs: Sequence[JobId]) -> Deferred[dict[int, int]]:
        """New ids by old ids."""

    def forget(self, jobs: Sequence[JobId]) -> Deferred[dict[int, str]]:
        """Give up ended jobs: ``forgotten``, or the state that each has, or ``unknown``."""

    def watch(self, jobs: Sequence[JobId]) -> Deferred[list[int]]:
        """Have outcomes delivered that were submitted elsewhere; fires with unknown ids.

        It holds for one connection of the session: who comes back asks again.
        """

    def query(self, question: str, details: dict[str, Any]) -> Deferred[Any]: ...

    def attach(self, job: JobId, follow: bool) -> Deferred[tuple[JobLog, bool]]:
        """What a job printed so far, and whether ``output`` will be called with more."""

    def detach(self, job: JobId) -> Deferred[None]: ...

    def put_blob(self, ref: BlobRef, path: Path) -> Deferred[None]:
        """Store a file's bytes under their hash; leaves the file alone."""

    def get_blob(self, ref: BlobRef) -> Deferred[Path]:
        """A blob as a file on this machine, not to be written to. Fails with ``NoSuchBlob``."""

    def reload_workers(self) -> Deferred[int]: ...

    def drain_worker(self, worker: str) -> Deferred[None]:
        """Have a worker finish what runs, and leave. Fails with ``NoSuchWorker``."""

    def backup(self, folder: Path) -> Deferred[dict[str, Any]]:
        """Copy store and values into a new folder: ``jobs``, ``values``, ``bytes``, ``seconds``.

        Fails with ``StoreRefused`` where there is nothing on disk, or the folder does not fit.
        """

    def shutdown(self) -> Deferred[None]: ...


class UploadBounds(Protocol):
    """What peers may send before anything refers to it."""

    def check(self, owner: Hashable, ref: BlobRef, worker: bool = False) -> None:
        """Raises what a chunk of this value is refused with."""


class ValueAccess(Protocol):
    """Which values a peer may name."""

    def has_sent(self, client: ClientId, digest: bytes) -> bool:
        """Whether a client's jobs may refer to a value, which may be gone by now."""

    def sent(self, client: ClientId, digest: bytes) -> None:
        """A client has sent every byte of a value."""

    def may_read(self, client: ClientId, digest: bytes) -> bool:
        """Whether a client has sent it, or was told of an outcome of its own that refers to it."""

    def worker_may_read(self, worker: WorkerId, digest: bytes) -> bool:
        """Whether an attempt that the worker holds needs it."""


class CoordinatorCore(Protocol):
    """What sessions and the local composition use of the coordinator: its driver."""

    store_id: bytes
    term: int

    @property
    def uploads(self) -> UploadBounds: ...

    @property
    def values(self) -> ValueAccess: ...

    def no_room(self) -> str:
        """Why nothing new can be stored now, in a sentence; or nothing."""

    def open_session(
        self, client: ClientId, session: SessionId, port: ClientPort, role: Role = "client"
    ) -> tuple[Coordinator, int]:
        """Begin or take up a session; the second value is the first sequence number not seen.

        What the ``role`` may not ask fails with ``NotAllowed``.
        """

    def leave_session(self, session: SessionId, port: ClientPort, goodbye: bool) -> None:
        """The session's connection is gone; for good, with ``goodbye``."""

    def join(
        self, info: WorkerInfo, held: Sequence[Holding], port: WorkerPort, local: bool = False
    ) -> tuple[WorkerId, WorkerEvents, list[Holding]]:
        """A worker joins or returns; the third value is what it shall drop.

        A ``local`` one lives and dies with this process.
        """

    def leave(self, worker: WorkerId, port: WorkerPort, goodbye: bool) -> None:
        """A worker's connection is gone; with ``goodbye`` it will not come back."""
