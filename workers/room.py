"""A coordinator that has no room: what it refused waits, and is tried again after a while."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ..protocol.errors import CoordinatorLost
from .backoff import Backoff

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 15.0


class Room:
    """``again`` is called each time that it is worth a try."""

    _log = Logger()

    def __init__(self, reactor: IReactorTime, random: Random, again: Callable[[], None]) -> None:
        self._reactor = reactor
        self._again = again
        self._backoff = Backoff(random, FIRST_SECONDS, LONGEST_SECONDS)
        self._timer: IDelayedCall | None = None
        self._waiters: list[Deferred[None]] = []
        self._said = False

    def refused(self, why: str) -> None:
        """It has no room now; said once, until it takes something."""
        if not self._said:
            self._said = True
            self._log.warn("results are kept here until the coordinator takes them: {why}", why=why)
        if self._timer is None:
            self._timer = self._reactor.callLater(self._backoff.next(), self._try_again)

    def wait(self) -> Deferred[None]:
        """Fires when it is worth a try; fails with ``CoordinatorLost`` when it never will be."""
        waiter: Deferred[None] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def taken(self) -> None:
        """It has taken something."""
        if self._said:
            self._said = False
            self._backoff.reset()
            self._log.info("the coordinator takes results again")

    def _try_again(self) -> None:
        self._timer = None
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)
        self._again()

    def forget(self) -> None:
        """Nothing will be tried again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.errback(CoordinatorLost())
