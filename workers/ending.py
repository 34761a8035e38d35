"""Ending a process by ever stronger signals, each after its grace."""

from __future__ import annotations

import signal
from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime

from .patience import Patience


@attrs.frozen(kw_only=True)
class Grace:
    """Seconds that a job has to end after a signal, before the next one."""

    interrupt: float = 1.0
    """After SIGINT."""
    terminate: float = 2.0
    """After SIGTERM; then comes SIGKILL."""


class Ladder:
    """SIGINT, SIGTERM, SIGKILL. ``last`` is the one that was sent last."""

    def __init__(self, reactor: IReactorTime, grace: Grace, send: Callable[[int], object]) -> None:
        self._reactor = reactor
        self._rungs = [
            (signal.SIGINT, grace.interrupt),
            (signal.SIGTERM, grace.terminate),
            (signal.SIGKILL, 0.0),
        ]
        self._send = send
        self._timer: Patience | None = None
        self.last: signal.Signals | None = None

    def climb(self) -> None:
        """Send the next signal, and see to the one after it."""
        self._timer = None
        self.last, grace = self._rungs.pop(0)
        if self._rungs:
            self._timer = Patience(self._reactor, grace, self.climb)
        self._send(self.last)

    def stop(self) -> None:
        """The process has ended: no more signals."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
