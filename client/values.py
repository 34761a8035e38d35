"""Results too large for a frame: fetched to a file, unpickled in a thread, a few at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore

from ..protocol.errors import NoSuchBlob, NoSuchJob
from ..protocol.ids import JobId
from ..protocol.jobs import BlobRef
from ..protocol.transfers import DeferToThread
from .requests import Requests
from .spool import Spool

if TYPE_CHECKING:
    from ..protocol.blobs import BlobFolder

T = TypeVar("T")

AT_ONCE = 4
"""So many are in memory at the same time."""


class Values:
    """Reads the values that results refer to."""

    def __init__(self, requests: Requests, spool: Spool, defer_to_thread: DeferToThread) -> None:
        self._requests = requests
        self._spool = spool
        self._defer_to_thread = defer_to_thread
        self._readers = DeferredSemaphore(AT_ONCE)
        self._opening = DeferredLock()
        self._folder: BlobFolder | None = None
        self._reading: Counter[BlobRef] = Counter()

    def read(
        self, ref: BlobRef, job: JobId | None, load: Callable[..., T], *arguments: object
    ) -> Deferred[T]:
        """Fires with ``load(path, *arguments)``, which is called in a thread. ``job``: whose."""

        async def fetch_and_load() -> T:
            self._reading[ref] += 1
            try:
                path = await self._fetch(ref, job)
                value: T = await self._defer_to_thread(load, path, *arguments)
                return value
            finally:
                self._done_with(ref)

        return self._readers.run(lambda: Deferred.fromCoroutine(fetch_and_load()))

    def _done_with(self, ref: BlobRef) -> None:
        """The last reader removes what came over a connection, whichever is there by now."""
        self._reading[ref] -= 1
        if self._reading[ref] == 0:
            del self._reading[ref]
            if self._folder is not None:
                self._folder.remove(ref.digest).addErrback(lambda _: None)

    async def _fetch(self, ref: BlobRef, job: JobId | None) -> Path:
        try:
            return await self._requests.call(lambda coordinator: coordinator.get_blob(ref))
        except NoSuchBlob as missing:
            if job is None:
                raise
            # a coordinator that was started since then does not know that we were told of it
            details = {"job": job}
            try:
                await self._requests.call(lambda asked: asked.query("result", details))
            except NoSuchJob:
                raise missing from None
        return await self._requests.call(lambda coordinator: coordinator.get_blob(ref))

    def folder(self) -> Deferred[BlobFolder]:
        """Where values are put that come over a connection."""
        return Deferred.fromCoroutine(self._open_folder())

    async def _open_folder(self) -> BlobFolder:
        from ..protocol.blobs import BlobFolder

        async with self._opening:
            if self._folder is None:
                folder = BlobFolder(
                    self._spool.folder / "fetched", self._defer_to_thread, durable=False
                )
                await folder.start()
                self._folder = folder
        return self._folder
