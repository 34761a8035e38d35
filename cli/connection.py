"""The command line as a client: a coordinator that answers, and what it delivers.

The coordinator is the one that is named, or the one of this machine, or, for ``run`` and ``map``
where none runs, a pool of our own in this process.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed

from ..protocol.errors import NoSuchBlob
from ..protocol.ids import JobId
from ..protocol.jobs import BlobRef, Payload, Submission
from ..protocol.limits import INLINE_LIMIT
from ..protocol.outcomes import Delivery
from ..protocol.ports import Accepted, Coordinator

OutputSink = Callable[[JobId, int, bytes], "Deferred[bool]"]


class Inbox:
    """What the coordinator delivers to us: a ``ClientPort``."""

    def __init__(self) -> None:
        self._ended: dict[JobId, Delivery] = {}
        self._waiting: list[Deferred[None]] = []
        self.count = 0
        """Deliveries so far."""
        self.sink: OutputSink | None = None
        """Takes what attached jobs print."""
        self.on_delivery: Callable[[Delivery], object] | None = None

    def delivered(self, outcomes: Sequence[Delivery]) -> Deferred[None]:
        for delivery in outcomes:
            self.count += delivery.job not in self._ended
            self._ended[delivery.job] = delivery
            if self.on_delivery is not None:
                self.on_delivery(delivery)
        self.wake()
        return succeed(None)

    def output(self, job: JobId, stream: int, data: bytes) -> Deferred[bool]:
        return succeed(False) if self.sink is None else self.sink(job, stream, data)

    def wake(self) -> None:
        """Let everybody who waits look again."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def change(self) -> Deferred[None]:
        """Fires when something is delivered."""
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiter)
        return waiter

    def _forget(self, waiter: Deferred[None]) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)

    def has(self, job: JobId) -> bool:
        return job in self._ended

    def take(self, job: JobId) -> Delivery | None:
        """How a job ended, once; None where that is not known yet."""
        return self._ended.pop(job, None)

    async def wait(self, job: JobId) -> Delivery:
        """How a job ended, when it has."""
        while (delivery := self.take(job)) is None:
            await self.change()
        return delivery


@attrs.define(eq=False)
class Link:
    """A coordinator to ask, with the numbers and blobs that submissions need."""

    coordinator: Coordinator
    inbox: Inbox
    own: bool
    """It is a pool of our own: the jobs end with us."""
    sequence: int = 0
    _folder: Any = None
    _files: dict[bytes, tuple[BlobRef, Path]] = attrs.field(factory=dict)
    _recent: deque[bytes] = attrs.field(factory=deque)

    async def submit(self, submissions: Sequence[Submission], group: int | None = None) -> Accepted:
        """Submit a frame of jobs; blobs that are missing there are sent again."""
        sequence, self.sequence = self.sequence, self.sequence + 1
        while True:
            accepted = await self.coordinator.submit(sequence, submissions, group)
            if not accepted.missing:
                return accepted
            await self._send_again(accepted.missing)

    async def _send_again(self, digests: Sequence[bytes]) -> None:
        for digest in digests:
            if digest not in self._files:
                raise NoSuchBlob("the coordinator asks for a value that is not kept here any more")
            await self.coordinator.put_blob(*self._files[digest])

    async def payload(self, data: bytes) -> Payload:
        """A job's payload: itself, or stored at the coordinator where it is large."""
        return data if len(data) <= INLINE_LIMIT else await self.store(data)

    async def store(self, data: bytes) -> BlobRef:
        """Store bytes at the coordinator, under their hash."""
        ref = BlobRef(hashlib.sha256(data).digest(), len(data))
        if ref.digest not in self._files:
            path = self._spool() / ref.digest.hex()
            path.write_bytes(data)
            self._files[ref.digest] = (ref, path)
        await self.coordinator.put_blob(*self._files[ref.digest])
        return ref

    def forget(self, ref: BlobRef) -> None:
        """The job that needs this value is accepted: it is the coordinator's now."""
        if (kept := self._files.pop(ref.digest, None)) is not None:
            kept[1].unlink(missing_ok=True)

    def _spool(self) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="ampacity-cli-")
        return Path(self._folder.name)

    def clean(self) -> None:
        """Remove what was kept for sending."""
        if self._folder is not None:
            self._folder.cleanup()
