"""How often frames leave that are not full."""

from __future__ import annotations

import math
from typing import Final

from twisted.internet.interfaces import IReactorTime

GATHER: Final = 0.001
"""Seconds between two of them, while one has no answer yet: who has them is busy, and a frame
costs everybody who deals with it as much as some ten jobs. A lone one leaves at once."""


class Pace:
    """That of one sender."""

    __slots__ = ("_clock", "_left")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._left = -math.inf

    def left(self) -> None:
        """One leaves now."""
        self._left = self._clock.seconds()

    def wait(self, unanswered: int) -> float:
        """Seconds until the next one may; 0, too, where the clock was set meanwhile."""
        if not unanswered:
            return 0.0
        wait: float = self._left + GATHER - self._clock.seconds()
        return wait if 0.0 < wait <= GATHER else 0.0
