"""How much of one turn of a reactor its peers may take together.

A socket brings as much as 64 KiB at once, and there are many: without a bound, timers and other
peers would wait for all of that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from weakref import WeakKeyDictionary, proxy

from twisted.internet.interfaces import IReactorTime

TURN = 0.001
"""Seconds for what all peers of a reactor send, in one of its turns; and the rest of one box."""


class Turn:
    """The turns of one reactor, one after the other."""

    __slots__ = ("_begun", "_clock", "_next")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = proxy(clock)  # or it would never be let go of
        self._begun: float | None = None
        self._next: dict[Hashable, deque[Callable[[], None]]] = {}

    @classmethod
    def of(cls, clock: IReactorTime) -> Turn:
        """That of a reactor, which all of its connections share."""
        turn = _TURNS.get(clock)
        if turn is None:
            turn = _TURNS[clock] = cls(clock)
        return turn

    def is_over(self) -> bool:
        """Whether the time for peers is used up; the first question of a turn begins it."""
        now = self._clock.seconds()
        if self._begun is None:
            self._begun = now
            self._clock.callLater(0, self._again)
            return False
        spent: float = now - self._begun
        return spent > TURN

    def next(self, read: Callable[[], None], owner: Hashable) -> None:
        """Go on with this in the next turn. Owners take turns, whatever their number of
        connections; of one owner's, who waits longest comes first."""
        self._next.setdefault(owner, deque()).append(read)
        if self._begun is None:
            self.is_over()  # it begins one

    def _again(self) -> None:
        self._begun = None
        for owner in list(self._next):
            waiting = self._next.pop(owner)
            read = waiting.popleft()
            if waiting:
                self._next[owner] = waiting  # behind the other owners
            read()
            if self.is_over():
                break


_TURNS: WeakKeyDictionary[IReactorTime, Turn] = WeakKeyDictionary()
