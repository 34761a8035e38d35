"""Work of many owners, a bounded amount at once: each has its turn, and none takes all of it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

T = TypeVar("T")


class FairGate:
    """Lets ``at_once`` pieces of work through, ``each`` of one owner; the others wait in turn."""

    __slots__ = ("_at_once", "_each", "_running", "_total", "_waiting")

    def __init__(self, at_once: int, each: int) -> None:
        self._at_once = at_once
        self._each = each
        self._total = 0
        self._running: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[Deferred[None]]] = {}

    def run(self, owner: Hashable, work: Callable[[], Deferred[T]]) -> Deferred[T]:
        """Do it when it is its turn; who cancels it before that gives the turn up."""
        if owner not in self._waiting and self._has_room(owner):
            return self._begin(owner, work)
        turn: Deferred[None] = Deferred(lambda turn: self._give_up(owner, turn))
        self._waiting.setdefault(owner, deque()).append(turn)
        return turn.addCallback(lambda _: self._begin(owner, work))

    def _has_room(self, owner: Hashable) -> bool:
        return self._total < self._at_once and self._running[owner] < self._each

    def _begin(self, owner: Hashable, work: Callable[[], Deferred[T]]) -> Deferred[T]:
        self._total += 1
        self._running[owner] += 1
        return maybeDeferred(work).addBoth(self._end, owner)

    def _end(self, result: Any, owner: Hashable) -> Any:
        self._total -= 1
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]
        self._go_on()
        return result

    def _go_on(self) -> None:
        for owner in list(self._waiting):
            if self._total >= self._at_once:
                return
            waiting = self._waiting.get(owner)
            if waiting and self._running[owner] < self._each:
                turn = waiting.popleft()
                del self._waiting[owner]
                if waiting:
                    self._waiting[owner] = waiting  # behind the other owners
                turn.callback(None)

    def _give_up(self, owner: Hashable, turn: Deferred[None]) -> None:
        waiting = self._waiting.get(owner)
        if waiting and turn in waiting:
            waiting.remove(turn)
            if not waiting:
                del self._waiting[owner]
