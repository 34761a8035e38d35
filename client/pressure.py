"""A coordinator without room: maps ask now and then, one frame at a time, and wait otherwise."""

from __future__ import annotations

from collections.abc import Callable
from random import SystemRandom

from twisted.internet.interfaces import IDelayedCall, IReactorTime

_FIRST_WAIT = 0.05
_LONGEST_WAIT = 2.0


class Pressure:
    """Whether there is room, as far as it is known here."""

    def __init__(self, reactor: IReactorTime, wake: Callable[[], object]) -> None:
        self._reactor = reactor
        self._wake = wake
        """Called when the next frame may be tried."""
        self._random = SystemRandom()
        self._bound = _FIRST_WAIT
        self._timer: IDelayedCall | None = None
        self._asked = False
        self.full = False
        """Frames of maps are not sent, but for the one that asks."""

    def may_ask(self) -> bool:
        """Whether one frame may be sent, to see whether there is room again."""
        return self.full and self._timer is None and not self._asked

    def asked(self) -> None:
        """That frame is on its way."""
        self._asked = True

    def not_asked(self) -> None:
        """It has to be sent once more before it gets its answer."""
        self._asked = False

    def refused(self) -> None:
        """No room: the next one is tried later, and still later if there is none then."""
        if self.full and not self._asked:
            return  # it was sent together with one that has been refused before
        self._bound = min(self._bound * 2, _LONGEST_WAIT) if self.full else _FIRST_WAIT
        self.full, self._asked = True, False
        pause = self._random.uniform(self._bound / 2, self._bound)
        self._timer = self._reactor.callLater(pause, self._try)

    def _try(self) -> None:
        self._timer = None
        self._wake()

    def over(self) -> bool:
        """A frame was accepted, or nobody can be asked now; whether that changes anything."""
        if not self.full or self._timer is not None:
            return False
        self.full = self._asked = False
        return True

    def stop(self) -> None:
        """Nobody waits any more."""
        self.full = self._asked = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
