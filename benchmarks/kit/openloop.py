"""Jobs one at a time, and jobs at even distances, whatever becomes of those before."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

PAUSE = 0.001
"""Seconds between two jobs that go one at a time."""


async def one_at_a_time(
    reactor: Any, one: Callable[[], Awaitable[float]], count: int
) -> list[float]:
    """The seconds that ``one`` tells of each, with a pause after it."""
    taken = []
    for _ in range(count):
        taken.append(await one())
        await deferLater(reactor, PAUSE)
    return taken


class OpenLoop:
    """Submits at a rate, and times each job from the moment that it was intended for."""

    def __init__(self, reactor: Any, submit: Callable[[int], Deferred[int]], rate: float) -> None:
        """``rate``: jobs a second; ``submit`` is given their numbers, from 0."""
        self._reactor = reactor
        self._submit = submit
        self._distance = 1 / rate
        self._taken: list[float] = []
        self._sent = 0
        self._done: Deferred[None] = Deferred()

    async def run(self, seconds: float) -> list[float]:
        """The seconds from each job's intended moment to its result."""
        self._count = round(seconds / self._distance)
        self._began = time.perf_counter()
        self._send()
        await self._done
        return self._taken

    def _send(self) -> None:
        """All that is due; what is late was due at its own moment all the same."""
        now = time.perf_counter()
        while self._sent < self._count:
            due = self._began + self._sent * self._distance
            if due > now:
                self._reactor.callLater(max(0.0, due - time.perf_counter()), self._send)
                return
            self._submit(self._sent).addCallback(self._ended, due)
            self._sent += 1

    def _ended(self, _number: int, due: float) -> None:
        self._taken.append(time.perf_counter() - due)
        if len(self._taken) == self._count:
            self._done.callback(None)
