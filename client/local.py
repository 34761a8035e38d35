"""A pool on this machine: coordinator and slots in this process, and no wire between them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from ..coordinator.driver import Driver
from ..coordinator.settings import Settings
from ..loopwatch import LagMeter
from ..protocol.blobs import BlobFolder
from ..protocol.errors import StorageFull
from ..protocol.ids import LOCAL_CLIENT
from ..protocol.ports import WorkerEvents
from ..protocol.temporary import TemporaryFolder, remove_abandoned_meanwhile
from ..workers.branch import branch
from ..workers.machine import usable_cpus
from ..workers.slots import SlotPool
from .ownslots import OwnSlots
from .session import Session
from .spool import threads_of

if TYPE_CHECKING:
    from ..coordinator.diskroom import DiskRoom
    from ..coordinator.sqlite import SqliteStore


ENDED_JOBS = 100_000
"""Ended jobs that a pool without a coordinator remembers, for ``job.info()`` and ``retry()``: each
takes about 0.7 KiB of the program's memory."""


class LocalCluster:
    """A driver with slots of its own. A ``CoordinatorService`` may listen on the same driver.

    Without a ``folder``, a temporary one is made, and removed in the end. With ``slots=0`` there
    is the driver alone. With a ``store`` folder, jobs and values are kept there; whoever names it
    sees to it that nobody else uses it.
    """

    def __init__(
        self,
        reactor: Any,
        slots: int | None = None,
        python: str | None = None,
        setup: str | None = None,
        folder: Path | None = None,
        settings: Settings | None = None,
        lag: LagMeter | None = None,
        name: str | None = None,
        grace: float = 10.0,
        store: Path | None = None,
    ) -> None:
        """``grace``: seconds that jobs which run have to end when the slots are drained."""
        self._temporary = None
        if folder is None:
            self._temporary = TemporaryFolder()
            folder = self._temporary.path
        self.folder = folder
        self.defer_to_thread = threads_of(reactor)
        values = self.folder / "blobs" if store is None else store / "values"
        self.blobs = BlobFolder(values, self.defer_to_thread, durable=store is not None)
        self._settings = settings or Settings()
        self._lag = lag
        self._store = store
        self._grace = grace
        self._opened = False
        self._driver: Driver | None = None
        self._room: DiskRoom | None = None
        if store is None:
            self._driver = Driver(reactor, self.blobs, self._settings, lag)
        self._reactor = reactor
        self.slots: SlotPool | None = None
        self._own: OwnSlots | None = None
        self._stopped: Deferred[None] | None = None
        if slots != 0:
            self.slots = SlotPool(
                reactor,
                slots or usable_cpus(),
                self.folder / "slots",
                python=python,
                setup=setup,
                name=name,
            )

    @property
    def events(self) -> WorkerEvents | None:
        """How the slots tell the driver of themselves, while they have joined."""
        return None if self._own is None else self._own.events

    @property
    def driver(self) -> Driver:
        """The coordinator; one with a store is there when that is open."""
        assert self._driver is not None, "the store is not open"
        return self._driver

    async def open(self) -> None:
        """Have the driver ready to be listened to; ``start`` does it, where nobody has.

        Raises:
            StoreRefused: the store cannot be used.
            StorageFull: nor can it be written to.
        """
        self._opened = True
        await self.blobs.start()
        if self._store is not None:
            self._driver = await self._over(self._store)
        self.driver.start()

    async def _over(self, folder: Path) -> Driver:
        """A driver over the store in a folder."""
        # only a durable coordinator pays for the import of the database's tools
        from ..coordinator.diskroom import DiskRoom

        self._room = DiskRoom(self._reactor, folder, self.defer_to_thread)
        await self._room.start()
        try:
            store = await self._open_store(folder)
        except StorageFull:
            if not await self._room.full():  # gave up its ballast: there may be room now
                raise
            store = await self._open_store(folder)
        return Driver(self._reactor, self.blobs, self._settings, self._lag, store)

    def _open_store(self, folder: Path) -> Deferred[SqliteStore]:
        from ..coordinator.sqlite import SqliteStore

        return SqliteStore.open(self._reactor, folder, self.defer_to_thread, room=self._room)

    async def start(self) -> None:
        """Return once the first child is ready, and the slots have joined.

        Raises:
            CannotStart: no child can be started.
            StoreRefused: the store cannot be used.
        """
        if not self._opened:
            await self.open()
        if self.slots is not None:
            self._own = OwnSlots(self._reactor, self.driver, self.slots, self._grace)
            await self._own.start()
        if self._temporary is not None:
            remove_abandoned_meanwhile()

    async def drain(self, grace: float) -> None:
        """Give what runs in our own slots ``grace`` seconds, end and give back the rest."""
        if self._own is not None:
            await self._own.end(grace)

    async def stop(self, grace: float = 0.0) -> None:
        """Give what runs ``grace`` seconds, end the rest, which counts nothing, then the driver.

        Asked again with less patience, the rest of the grace is shortened.
        """
        if self._stopped is None:
            self._stopped = Deferred.fromCoroutine(self._stop(grace))
        elif self._own is not None:
            self._own.end(grace)
        await branch(self._stopped)

    async def _stop(self, grace: float) -> None:
        if self._own is not None:
            await self._own.end(grace)
        if self._driver is not None:
            await self._driver.stop()
        if self._room is not None:
            await self._room.stop()
        if self._temporary is not None:
            await self.defer_to_thread(self._temporary.remove)


class LocalLink:
    """A session with a cluster of its own."""

    local = True
    on_given_up: Any = None
    """Never called: no connection can be lost."""

    def __init__(self, reactor: Any, **options: Any) -> None:
        self._reactor = reactor
        self._options = {"settings": Settings(retain_jobs=ENDED_JOBS), **options}
        self._cluster: LocalCluster | None = None

    def open(self, session: Session) -> Deferred[None]:
        return Deferred.fromCoroutine(self._open(session))

    async def _open(self, session: Session) -> None:
        cluster = self._cluster = LocalCluster(self._reactor, **self._options)
        try:
            await cluster.start()
        except BaseException:
            await self._stop()
            raise
        driver = cluster.driver
        session.meet(driver.store_id)
        coordinator, sequence = driver.open_session(LOCAL_CLIENT, session.id, session, "operator")
        session.connected(coordinator, sequence)

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            await cluster.stop()
