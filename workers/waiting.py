"""The attempts that wait for a child, by context, and how many of them make a batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from math import inf
from operator import itemgetter
from typing import Final

from .errands import Done
from .held import Context, Held, State

BATCH_SECONDS: Final = 0.005
"""Work, by estimate, in one call to a child."""
AHEAD_SECONDS: Final = 0.005
"""Work in a call that a child is given before the one that it has is over: long enough for the
agent to send the next, even where all processors are busy."""
AHEAD_LONGEST: Final = 0.010
"""A job that takes longer than ``AHEAD_SECONDS``, but no longer than this, is given ahead by
itself. A child that comes to be free takes it over, see ``dispatch``."""
ENOUGH: Final = 0.002
"""Work that waits for each child, besides what it was given ahead: it will not be idle before the
coordinator has heard of what it runs now, and sent more."""
WORTHWHILE: Final = 0.001
"""Work that was given ahead, below which a child that is free leaves it where it is."""
BATCH_JOBS: Final = 256
BATCH_BYTES: Final = 512 * 1024
OVERHEAD: Final = 10e-6
"""Seconds that a child spends around each job."""
SWITCH_AFTER: Final = 0.25
"""Seconds that a job waits for a child of its own context before another's is replaced."""

_KEPT = 4096
_WEIGHT = 0.3


class Durations:
    """The smoothed run time of each target, in seconds."""

    def __init__(self) -> None:
        self._seconds: dict[object, float] = {}

    def note(self, key: object, seconds: float, count: int = 1) -> None:
        """So many have run so long."""
        before = self._seconds.get(key)
        if before is None:
            if len(self._seconds) >= _KEPT:
                self._seconds.clear()
            self._seconds[key] = seconds
        else:
            self._seconds[key] = before + (seconds - before) * (1 - (1 - _WEIGHT) ** count)

    def note_all(self, ended: Iterable[tuple[object, Done | None]]) -> None:
        """These have ended; neighbours of one target are taken together, by their mean."""
        for key, group in groupby(ended, itemgetter(0)):
            seconds = [done.ended - done.began for _, done in group if done is not None]
            self.note(key, sum(seconds) / len(seconds), len(seconds))

    def estimate(self, key: object) -> float | None:
        """How long one runs; None where none has."""
        return self._seconds.get(key)


class Waiting:
    """First in, first out, within a context; contexts by their oldest attempt."""

    def __init__(self, durations: Durations) -> None:
        self._durations = durations
        self._queues: dict[Context, deque[Held]] = {}
        self._order = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Held]:
        return iter([held for queue in self._queues.values() for held in queue])

    def add(self, added: Iterable[Held], now: float) -> None:
        """Queue these."""
        order, context, queue = self._order, None, None
        for held in added:
            held.state = State.WAITING
            held.since = now
            order += 1
            held.order = order
            if queue is None or held.plan.context is not context:
                context = held.plan.context
                queue = self._queues.setdefault(context, deque())
            queue.append(held)
        self._size += order - self._order
        self._order = order

    def put_back(self, taken: Sequence[Held]) -> None:
        """Queue these before all others: they were given to a child that did not begin them."""
        for held in reversed(taken):
            held.state = State.WAITING
            self._queues.setdefault(held.plan.context, deque()).appendleft(held)
        self._size += len(taken)

    def remove(self, gone: Iterable[Held]) -> None:
        """Take these out, wherever they are."""
        gone = list(gone)
        orders = {held.order for held in gone}
        for context in {held.plan.context for held in gone}:
            kept = deque(h for h in self._queues.get(context, ()) if h.order not in orders)
            self._size -= len(self._queues.get(context, ())) - len(kept)
            self._set(context, kept)

    def _set(self, context: Context, queue: deque[Held]) -> None:
        if queue:
            self._queues[context] = queue
        else:
            self._queues.pop(context, None)

    def contexts(self) -> list[Context]:
        """Contexts with waiting attempts, the one that waits longest first."""
        if len(self._queues) < 2:
            return list(self._queues)
        return sorted(self._queues, key=lambda context: self._queues[context][0].order)

    def waiting_in(self, context: Context) -> int:
        """How many wait in a context."""
        return len(self._queues.get(context, ()))

    def since(self, context: Context) -> float:
        """When the first one of a context came."""
        return self._queues[context][0].since

    def take(self, context: Context, free: int) -> tuple[list[Held], float]:
        """A batch for one of ``free`` children of the context, and its work in seconds."""
        queue = self._queues[context]
        first = queue.popleft()
        batch, seconds = [first], self.cost(first)
        seconds = self._fill(batch, queue, -(-(len(queue) + 1) // free), seconds, BATCH_SECONDS)
        return self._taken(context, queue, batch), seconds

    def take_ahead(self, context: Context, busy: int) -> tuple[list[Held], float]:
        """As ``take``, for one of ``busy`` children; maybe nothing, where jobs are not short."""
        queue = self._queues.get(context)
        if not queue:
            return [], 0.0
        batch: list[Held] = []
        seconds = self._fill(batch, queue, -(-len(queue) // busy), 0.0, AHEAD_SECONDS)
        if not batch and (cost := self.cost(queue[0])) <= AHEAD_LONGEST:
            batch.append(queue.popleft())
            seconds = cost
        return self._taken(context, queue, batch), seconds

    def behind(self, context: Context, children: int) -> float:
        """Seconds of work that wait in a context for each of so many children, if all of it is as
        its first; 0 where that is not known."""
        queue = self._queues.get(context)
        if not queue:
            return 0.0
        cost = self.cost(queue[0])
        return len(queue) * cost / children if cost < inf else 0.0

    def _fill(
        self, batch: list[Held], queue: deque[Held], most: int, seconds: float, limit: float
    ) -> float:
        most = min(BATCH_JOBS, most)
        size = _size(batch[0]) if batch else 0
        plan, cost = None, 0.0
        while queue and len(batch) < most:
            held = queue[0]
            if held.plan is not plan:
                plan, cost = held.plan, self.cost(held)
            size += _size(held)
            if seconds + cost > limit or size > BATCH_BYTES:
                break
            seconds += cost
            batch.append(queue.popleft())
        return seconds

    def _taken(self, context: Context, queue: deque[Held], batch: list[Held]) -> list[Held]:
        self._size -= len(batch)
        if not queue:
            del self._queues[context]
        return batch

    def cost(self, held: Held) -> float:
        """Seconds that a child needs for it, by estimate; infinity for one that goes alone."""
        if held.plan.spec.attach:
            return inf
        seconds = self._durations.estimate(held.plan.key)
        return inf if seconds is None else seconds + OVERHEAD


def _size(held: Held) -> int:
    return len(held.payload) if type(held.payload) is bytes else 0
