"""When the scheduler has its turn without being asked: at a time, in slices, after a standstill."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from .clocks import Clocks
from .events import Continue, Event, Paused, Tick

BEAT = 1.0
"""Seconds between two looks at the clock. One that is late by more than a second tells that this
process stood still."""


class Timekeeping:
    """Turns the reactor's time into events."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        handle: Callable[[Event], object],
        wake: Callable[[], float | None],
        beat: Callable[[], None],
    ) -> None:
        """``wake`` tells when the scheduler wants a ``Tick``; ``beat`` is called once a second."""
        self.moment = Clocks(reactor).moment
        self._reactor = reactor
        self._handle = handle
        self._wanted = wake
        self._each_beat = beat
        self._beaten = self.moment().now
        self._beating = LoopingCall(self._beat)
        self._beating.clock = reactor
        self._wake: IDelayedCall | None = None
        self._next_slice: IDelayedCall | None = None
        self._stopped = False

    def start(self) -> None:
        self._beaten = self.moment().now
        self._beating.start(BEAT)

    def stop(self) -> None:
        self._stopped = True
        if self._beating.running:
            self._beating.stop()
        for call in (self._wake, self._next_slice):
            if call is not None and call.active():
                call.cancel()

    def wake_at(self, now: float | None) -> None:
        """Have a tick at this monotonic time, and not at the one that was said before."""
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
        self._wake = None
        if now is not None and not self._stopped:
            self._wake = self._reactor.callLater(max(0.0, now - self.moment().now), self._tick)

    def _tick(self) -> None:
        self._wake = None
        self._notice_pause()
        self._handle(Tick(self.moment()))
        if self._wake is None:
            self.wake_at(self._wanted())

    def go_on(self) -> None:
        """Have the next slice of long work done, after others had their turn."""
        if self._next_slice is None and not self._stopped:
            self._next_slice = self._reactor.callLater(0, self._continue)

    def _continue(self) -> None:
        self._next_slice = None
        self._handle(Continue(self.moment()))

    def _beat(self) -> None:
        self._notice_pause()
        self._each_beat()

    def _notice_pause(self) -> None:
        """Where this process stood still, nobody who is waited for is to blame for it."""
        now = self.moment().now
        late = now - self._beaten - BEAT
        self._beaten = now
        if late > BEAT and not self._stopped:
            what = "stood still for {late:.1f} s: leases are longer by that"
            self._log.warn(what, late=late)
            self._handle(Paused(self.moment(), late))
