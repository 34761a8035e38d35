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
"""Seconds for what the peers of a reactor left for one of its turns, all of them together, and for
what each of the others brings in it; and the rest of one box."""

LONGEST = 0.004
"""Seconds of a turn after which nothing more is begun for any of them."""


class Turn:
    """The turns of one reactor, one after the other."""

    __slots__ = ("_begun", "_clock", "_fresh", "_late", "_next")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = proxy(clock)  # or it would never be let go of
        self._begun: float | None = None
        self._fresh: dict[Hashable, float] = {}
        """Who had left nothing for this turn, and when the first of theirs came in it."""
        self._late: Hashable = None
        """Whose leftovers are dealt with right now."""
        self._next: dict[Hashable, deque[Callable[[], None]]] = {}

    @classmethod
    def of(cls, clock: IReactorTime) -> Turn:
        """That of a reactor, which all of its connections share."""
        turn = _TURNS.get(clock)
        if turn is None:
            turn = _TURNS[clock] = cls(clock)
        return turn

    def is_over(self, owner: Hashable = None) -> bool:
        """Whether the time of an owner is used up; the first question of a turn begins it.

        Who sends no more than is dealt with at once does not wait behind those who always leave
        something: it has a share of its own, while the turn is not at its longest.
        """
        now = self._clock.seconds()
        if self._begun is None:
            self._begun = now
            self._clock.callLater(0, self._again)
        spent: float = now - self._begun
        if owner is None or owner == self._late or owner in self._next:
            return spent > TURN
        return spent > LONGEST or now - self._fresh.setdefault(owner, now) > TURN

    def next(self, read: Callable[[], None], owner: Hashable) -> None:
        """Go on with this in the next turn. Owners take turns, whatever their number of
        connections; of one owner's, who waits longest comes first."""
        self._next.setdefault(owner, deque()).append(read)
        if self._begun is None:
            self.is_over()  # it begins one

    def _again(self) -> None:
        self._begun = None
        self._fresh.clear()
        if self._next:
            self.is_over()  # the next turn begins with what was left for it
        try:
            for owner in list(self._next):
                waiting = self._next.pop(owner)
                read = waiting.popleft()
                if waiting:
                    self._next[owner] = waiting  # behind the other owners
                self._late = owner
                read()
                if self.is_over():
                    break
        finally:
            self._late = None


_TURNS: WeakKeyDictionary[IReactorTime, Turn] = WeakKeyDictionary()
