"""Waits that a stopped process does not use up.

A process can be stopped (``SIGSTOP``, a frozen container, a suspended machine), and whom it waits
for may have been stopped with it. So a wait is made of short steps, and a step whose end comes
late by more than ``PAUSE`` seconds was spent asleep: it is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..protocol.steady import PAUSE, monotonic_of

STEP: Final = 1.0
"""Seconds of a step: a pause makes a wait longer by this much at most, awake time alone counted."""


class Patience:
    """Calls once, after so many seconds awake."""

    def __init__(self, reactor: IReactorTime, seconds: float, call: Callable[[], object]) -> None:
        self._reactor = reactor
        self._now = monotonic_of(reactor)
        self._call = call
        self._left = seconds
        self._since = 0.0
        self._timer: IDelayedCall | None = None
        self._wait()

    def _wait(self) -> None:
        self._since = self._now()
        self._timer = self._reactor.callLater(max(0.0, min(self._left, STEP)), self._step)

    def _step(self) -> None:
        self._timer = None
        took = self._now() - self._since
        if took <= min(self._left, STEP) + PAUSE:
            self._left -= took
        if self._left > 0:
            self._wait()
        else:
            self._call()

    @property
    def active(self) -> bool:
        """Whether the call is still to come."""
        return self._timer is not None

    def left(self) -> float:
        """Seconds until the call; 0 once it was made or given up."""
        if self._timer is None:
            return 0.0
        return max(0.0, self._left - (self._now() - self._since))

    def shorten(self, seconds: float) -> None:
        """Wait so long from now on, if that is less."""
        if self._timer is not None and seconds < self.left():
            self._timer.cancel()
            self._left = seconds
            self._wait()

    def stop(self) -> None:
        """Do not call any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
