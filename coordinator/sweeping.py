"""What is looked through now and then, however much there is of it: a step in a reactor's turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator, LoopingCall, SchedulerStopped

INTERVAL = 60.0
"""Seconds between two sweeps, from the beginning of the one to that of the next."""


class Sweeping:
    """Goes through what ``sweep`` yields, again and again."""

    def __init__(self, reactor: IReactorTime, sweep: Callable[[], Iterator[None]]) -> None:
        self._steps = Cooperator(
            terminationPredicateFactory=lambda: lambda: True,
            scheduler=lambda step: reactor.callLater(0, step),
        )
        self._sweep = sweep
        self._looping = LoopingCall(self._begin)
        self._looping.clock = reactor

    def _begin(self) -> Deferred[object]:
        ended = self._steps.coiterate(self._sweep())
        return ended.addCallbacks(lambda _: None, lambda failure: failure.trap(SchedulerStopped))

    def start(self) -> None:
        self._looping.start(INTERVAL, now=False)

    def stop(self) -> None:
        if self._looping.running:
            self._looping.stop()
        self._steps.stop()
