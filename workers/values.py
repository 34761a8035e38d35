"""The values of jobs, between an agent's disk and its coordinator, over connections that come and
go. A transfer that fails with its connection is made again on the next one; a result for which
the coordinator has no room stays in its file until there is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred

from ..protocol.errors import CoordinatorLost, Disconnected, Malformed, QueueFull, StorageFull
from ..protocol.ids import Attempt, JobId
from ..protocol.jobs import Assignment, BlobRef, unpack_spec
from ..protocol.transfers import download, upload

if TYPE_CHECKING:
    from ..protocol.connection import Connection
    from ..protocol.transfers import DeferToThread
    from .blobcache import BlobCache
    from .room import Room

Key = tuple[JobId, Attempt]
_Awaited = TypeVar("_Awaited")


class Values:
    """``on_change`` is called when more or fewer bytes of results have to wait."""

    def __init__(self, cache: BlobCache, defer_to_thread: DeferToThread, room: Room) -> None:
        self._cache = cache
        self._defer_to_thread = defer_to_thread
        self._room = room
        self._connection: Connection | None = None
        self._waiters: list[Deferred[Connection]] = []
        self._held: dict[Key, tuple[BlobRef, ...]] = {}
        self.waiting = 0
        """Bytes of results that cannot be sent now."""
        self.on_change: Callable[[], None] = lambda: None

    # -- what attempts refer to -------------------------------------------------------------------

    def assigned(self, assignments: Iterable[Assignment]) -> None:
        """Keep the values on disk that these refer to, until they are released."""
        for job, attempt, spec, payload, _client in assignments:
            refs = _blobs_of(spec)
            if type(payload) is BlobRef:
                refs = (*refs, payload)
            if refs and (job, attempt) not in self._held:
                self._held[job, attempt] = refs
                self._cache.hold(refs)

    @property
    def holding(self) -> bool:
        """Whether any value is kept for an attempt."""
        return bool(self._held)

    def release(self, key: Key) -> None:
        """This attempt is reported, given back or dropped."""
        refs = self._held.pop(key, None) if self._held else None
        if refs is not None:
            self._cache.release(refs)

    # -- connections ------------------------------------------------------------------------------

    def connected(self, connection: Connection) -> None:
        """Transfer over this one."""
        self._connection = connection
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(connection)

    def disconnected(self) -> None:
        """Wait for the next one."""
        self._connection = None

    def forget(self) -> None:
        """Another store answers: all transfers fail with ``CoordinatorLost``."""
        for key in list(self._held):
            self.release(key)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.errback(CoordinatorLost())

    async def _connect(self) -> Connection:
        connection = self._connection
        if connection is not None and connection.lost is None:
            return connection
        waiter: Deferred[Connection] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return await waiter

    # -- transfers --------------------------------------------------------------------------------

    async def fetch(self, ref: BlobRef) -> Path:
        """A value as a file of this machine."""
        cache = self._cache
        while not cache.has(ref):
            connection = await self._connect()
            try:
                await download(connection, ref, cache.blobs)
            except Disconnected:
                continue
        return cache.take(ref)

    async def store(self, ref: BlobRef, path: Path) -> None:
        """Hand over a result, however long that takes, and remove its file."""
        try:
            while not await self._stored(ref, path):
                pass
        finally:
            await self._defer_to_thread(path.unlink, True)

    async def _stored(self, ref: BlobRef, path: Path) -> bool:
        """Whether it could be sent now; if not, it is worth another try."""
        connection = self._connection
        if connection is None or connection.lost is not None:
            connection = await self._late(ref, self._connect())
        try:
            await upload(connection, ref, path, self._defer_to_thread)
        except Disconnected:
            return False
        except (StorageFull, QueueFull) as e:
            self._room.refused(str(e))
            await self._late(ref, self._room.wait())
            return False
        self._room.taken()
        return True

    async def _late(self, ref: BlobRef, waiting: Awaitable[_Awaited]) -> _Awaited:
        self._count(ref.size)
        try:
            return await waiting
        finally:
            self._count(-ref.size)

    def _count(self, size: int) -> None:
        self.waiting += size
        self.on_change()


@lru_cache(maxsize=1024)
def _blobs_of(spec: bytes) -> tuple[BlobRef, ...]:
    try:
        return unpack_spec(spec).blobs()
    except Malformed:
        return ()  # the slots report it, with the job's name
