"""The slots of a coordinator's own process: how they join its driver, and how they leave."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from ..coordinator.driver import Driver
from ..protocol.ids import WorkerId
from ..protocol.ports import WorkerEvents
from ..workers.branch import branch
from ..workers.slots import SlotPool

REJOIN_SECONDS = 1.0
"""From an internal error between the driver and the slots to a fresh start, the first time."""

LONGEST_REJOIN_SECONDS = 60.0


class OwnSlots:
    """A pool of slots that tells a driver of the same process; no wire lies between them."""

    log = Logger()

    def __init__(self, reactor: Any, driver: Driver, pool: SlotPool, grace: float) -> None:
        """``grace``: seconds that jobs which run have to end, when the driver drains them."""
        self.pool = pool
        self.events: WorkerEvents | None = None
        """How the slots tell the driver of themselves, once they have joined."""
        self._reactor = reactor
        self._driver = driver
        self._grace = grace
        self._worker: WorkerId | None = None
        self._joining: IDelayedCall | None = None
        self._rejoin = REJOIN_SECONDS
        self._ended: Deferred[None] | None = None

    async def start(self) -> None:
        """Return once the first child is ready, and the slots have joined.

        Raises:
            CannotStart: no child can be started.
        """
        await self.pool.start()
        self.pool.on_given_up = self._join_again
        self.pool.on_drain = self._drain
        self._join()

    def _join(self, offering: bool = True) -> None:
        info, held = self.pool.info, self.pool.held()
        if not offering:
            info = attrs.evolve(info, slots=0)
        self._worker, self.events, drop = self._driver.join(info, held, self.pool, local=True)
        self.pool.bind(self.events)
        self.pool.drop(drop)

    def _join_again(self) -> None:
        """The driver could not tell the slots what to do: they start afresh, a little later."""
        self._worker = self.events = None
        if self._ended is None:
            self._joining = self._reactor.callLater(self._rejoin, self._join)
            self._rejoin = min(2 * self._rejoin, LONGEST_REJOIN_SECONDS)

    def _drain(self) -> None:
        self.end(self._grace).addErrback(
            lambda failure: self.log.failure("the slots were not drained", failure)
        )

    def end(self, grace: float) -> Deferred[None]:
        """Take nothing new, give what runs so many seconds, end and give back the rest, leave.

        Fires when no child is left and the driver knows all. Asked again with less patience, the
        rest of the grace is shortened.
        """
        if self._ended is None:
            self._ended = Deferred.fromCoroutine(self._end(grace))
        else:
            self.pool.stop(grace)
        return branch(self._ended)

    async def _end(self, grace: float) -> None:
        if self._joining is not None and self._joining.active():
            self._joining.cancel()
        if self._worker is not None:
            self._join(offering=False)  # what is given back does not come here again
        await self.pool.stop(grace)
        worker, self._worker, self.events = self._worker, None, None
        if worker is not None:
            self._driver.leave(worker, self.pool, goodbye=True)
