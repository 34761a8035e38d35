"""A pool on this machine: coordinator and slots in this process, and no wire between them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from ..coordinator.driver import Driver
from ..coordinator.settings import Settings
from ..loopwatch import LagMeter
from ..protocol.blobs import BlobFolder
from ..protocol.ids import LOCAL_CLIENT
from ..protocol.ports import WorkerEvents
from ..workers.machine import usable_cpus
from ..workers.slots import SlotPool
from .session import Session
from .spool import threads_of

REJOIN_SECONDS = 1.0
"""From an internal error between the driver and the slots to a fresh start."""


class LocalCluster:
    """A driver with slots of its own. A ``CoordinatorService`` may listen on the same driver.

    Without a ``folder``, a temporary one is made, and removed in the end. With ``slots=0`` there
    is the driver alone.
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
    ) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="ampacity-"))
        self._own_folder = folder is None
        self.defer_to_thread = threads_of(reactor)
        self.blobs = BlobFolder(
            self.folder / "blobs", self.defer_to_thread, durable=not self._own_folder
        )
        self.driver = Driver(reactor, self.blobs, settings or Settings(), lag)
        self._reactor = reactor
        self._joining: IDelayedCall | None = None
        self.events: WorkerEvents | None = None
        """How the slots tell the driver of themselves, once they have joined."""
        self.slots: SlotPool | None = None
        if slots != 0:
            self.slots = SlotPool(
                reactor,
                slots or usable_cpus(),
                self.folder / "slots",
                python=python,
                setup=setup,
                name=name,
            )

    async def start(self) -> None:
        """Return once the first child is ready, and the slots have joined.

        Raises:
            CannotStart: no child can be started.
        """
        await self.blobs.start()
        self.driver.start()
        if self.slots is not None:
            await self.slots.start()
            self.slots.on_given_up = self._join_again
            self._join()

    def _join(self) -> None:
        assert self.slots is not None
        info, held = self.slots.info, self.slots.held()
        _name, self.events, _drop = self.driver.join(info, held, self.slots)
        self.slots.bind(self.events)

    def _join_again(self) -> None:
        """The driver could not tell the slots what to do: they start afresh, a little later."""
        self._joining = self._reactor.callLater(REJOIN_SECONDS, self._join)

    async def stop(self, grace: float = 0.0) -> None:
        """End the children, giving what runs ``grace`` seconds, then the rest."""
        if self._joining is not None and self._joining.active():
            self._joining.cancel()
        if self.slots is not None:
            await self.slots.stop(grace)
        await self.driver.stop()
        if self._own_folder:
            await self.defer_to_thread(shutil.rmtree, self.folder, True)


class LocalLink:
    """A session with a cluster of its own."""

    local = True
    on_given_up: Any = None
    """Never called: no connection can be lost."""

    def __init__(self, reactor: Any, **options: Any) -> None:
        self._reactor = reactor
        self._options = options
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
        coordinator, sequence = driver.open_session(LOCAL_CLIENT, session.id, session)
        session.connected(coordinator, sequence)

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            await cluster.stop()
