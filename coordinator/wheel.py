"""Everything that falls due, in slots of a sixteenth of a second: entries leave without a trace.

A heap would keep an entry of each deadline until it falls due, even of the many jobs that end
long before; here an entry is dropped at once. The width is a power of two, so that slots have
exact times.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import ceil
from typing import Generic, TypeVar

SLOTS_PER_SECOND = 16
EMPTIED_SLOTS = 1024
"""How many empty slots may lie between full ones."""

Key = TypeVar("Key")
_ABSENT = object()


class Wheel(Generic[Key]):
    """Keys by the time when they fall due, never early and at most one slot late."""

    __slots__ = ("_emptied", "_order", "_slots")

    def __init__(self) -> None:
        self._slots: dict[int, dict[Key, None]] = {}
        self._order: list[int] = []
        self._emptied = 0

    def add(self, due: float, key: Key) -> None:
        """Have ``key`` fall due at a monotonic time."""
        number = ceil(due * SLOTS_PER_SECOND)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = {}
            heappush(self._order, number)
        slot[key] = None

    def discard(self, due: float, key: Key) -> None:
        """``key`` does not fall due; ``due`` is what it was added with."""
        slot = self._slots.get(ceil(due * SLOTS_PER_SECOND))
        if slot is not None and slot.pop(key, _ABSENT) is None and not slot:
            self._emptied += 1
            if self._emptied > EMPTIED_SLOTS and self._emptied * 2 > len(self._slots):
                self._compact()

    def _compact(self) -> None:
        self._slots = {number: slot for number, slot in self._slots.items() if slot}
        self._order = sorted(self._slots)
        self._emptied = 0

    def next(self) -> float | None:
        """When the next key falls due."""
        order = self._order
        while order:
            if self._slots[order[0]]:
                return order[0] / SLOTS_PER_SECOND
            del self._slots[heappop(order)]
        return None

    def pop_due(self, now: float) -> list[Key]:
        """Take what is due, in the order of the slots."""
        due: list[Key] = []
        while self._order and self._order[0] <= now * SLOTS_PER_SECOND:
            due.extend(self._slots.pop(heappop(self._order)))
        return due
