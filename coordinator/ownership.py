"""Which values a client may name: those that it has sent, and to read, those it was shown as well.

A hash is no secret, so knowing it says nothing: whoever has sent all bytes of a value, or has been
told of an outcome that refers to it, may have it. This is remembered in memory, for so many values
a client; what was forgotten is sent, or shown, once more.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping

from ..protocol.ids import ClientId, JobId, WorkerId
from ..protocol.jobs import BlobRef
from .records import ClientRecord, JobRecord, SpecRecord, WorkerRecord

VALUES = 16_384
"""Values that a client has sent, and as many that it was shown: the latest used."""

AWAY = 256
"""Clients without a session whose values are remembered: those that left last."""

Recent = OrderedDict[bytes, None]


class _Owned:
    """The digests that one client may name; the latest used come last."""

    __slots__ = ("sent", "shown")

    def __init__(self) -> None:
        self.sent: Recent = OrderedDict()
        self.shown: Recent = OrderedDict()


class Ownership:
    """``ports.ValueAccess``: who has sent which values, and who was shown which.

    Sessions of one client share that. A worker may have what the jobs that it holds need.
    """

    def __init__(
        self,
        jobs: Mapping[JobId, JobRecord],
        workers: Mapping[WorkerId, WorkerRecord],
        values: int = VALUES,
        away: int = AWAY,
    ) -> None:
        """``jobs``: those whose ends are delivered are in it."""
        self._jobs = jobs
        self._workers = workers
        self._values = values
        self._most_away = away
        self._here: dict[ClientId, _Owned] = {}
        self._sessions: Counter[ClientId] = Counter()
        self._away: OrderedDict[ClientId, _Owned] = OrderedDict()

    # -- clients ----------------------------------------------------------------------------------

    def opened(self, client: ClientId) -> None:
        """A session of this client has begun, or has come back."""
        self._sessions[client] += 1
        if client not in self._here:
            self._here[client] = self._away.pop(client) if client in self._away else _Owned()

    def left(self, client: ClientId) -> None:
        """One of those is gone, perhaps for a moment."""
        self._sessions[client] -= 1
        if self._sessions[client] > 0:
            return
        del self._sessions[client]
        owned = self._here.pop(client)
        if owned.sent or owned.shown:
            self._away[client] = owned
            if len(self._away) > self._most_away:
                self._away.popitem(last=False)

    # -- values -----------------------------------------------------------------------------------

    def sent(self, client: ClientId, digest: bytes) -> None:
        """A client that is here has sent every byte of a value."""
        if (owned := self._here.get(client)) is not None:
            self._add(owned.sent, digest)

    def show(self, client: ClientId, refs: Iterable[BlobRef]) -> None:
        """A client that is here is told of an outcome of its own that refers to these."""
        if (owned := self._here.get(client)) is not None:
            for ref in refs:
                self._add(owned.shown, ref.digest)

    def show_ends(self, client: ClientRecord, jobs: Iterable[JobId]) -> None:
        """A client is told how these jobs ended, of which some may be others'."""
        known = self._jobs
        for number in jobs:
            job = known.get(number)
            if job is not None and job.blobs and job.client is client:
                self.show(client.id, job.blobs)

    def has_sent(self, client: ClientId, digest: bytes) -> bool:
        """Whether a client's jobs may refer to a value."""
        owned = self._here.get(client)
        return owned is not None and _touch(owned.sent, digest)

    def may_read(self, client: ClientId, digest: bytes) -> bool:
        """Whether a client may have a value."""
        owned = self._here.get(client)
        return owned is not None and (_touch(owned.sent, digest) or _touch(owned.shown, digest))

    def worker_may_read(self, worker: WorkerId, digest: bytes) -> bool:
        """Whether a job that a worker holds needs a value. Looks at all of them."""
        record = self._workers.get(worker)
        return record is not None and _refer_to(record.held.values(), digest)

    def _add(self, digests: Recent, digest: bytes) -> None:
        digests[digest] = None
        digests.move_to_end(digest)
        if len(digests) > self._values:
            digests.popitem(last=False)


def _touch(digests: Recent, digest: bytes) -> bool:
    if digest not in digests:
        return False
    digests.move_to_end(digest)
    return True


def _refer_to(jobs: Iterable[JobRecord], digest: bytes) -> bool:
    """Whether one of these jobs needs a value, to be run."""
    specs: set[SpecRecord] = set()
    last = None
    for job in jobs:
        payload, spec = job.payload, job.spec
        if type(payload) is BlobRef and payload.digest == digest:
            return True
        if spec is not last:
            last = spec
            specs.add(spec)
    return any(digest == ref.digest for spec in specs for ref in spec.blobs)
