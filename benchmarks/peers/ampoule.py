"""ampoule by itself: a process pool for Twisted on one machine, one AMP call a job.

The calls are made in Twisted's reactor, which runs in the main thread while jobs are under way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ..ways import AS_DOCUMENTED, TUNED
from .peer import Peer

MOST = 60_000
"""Bytes that an argument of AMP has at most."""


class Running(Peer):
    modes: ClassVar = {
        AS_DOCUMENTED: "a ProcessPool with its defaults: children are replaced after 500 calls",
        TUNED: "children that stay",
    }

    def start(self) -> None:
        from ampoule.pool import ProcessPool
        from twisted.internet import reactor

        from .ampoule_child import Child

        self._reactor: Any = reactor
        options = {"recycleAfter": 0} if self.mode == TUNED else {}
        self._pool = ProcessPool(Child, min=self.slots, max=self.slots, **options)
        self._wait(self._pool.start())

    def stop(self) -> None:
        self._wait(self._pool.stop())

    def run(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        from .ampoule_child import Call, packed, unpacked

        calls = [self._pool.doWork(Call, call=packed(function, one)) for one in arguments]
        return [unpacked(self._wait(call)) for call in calls]

    def can_hold(self, size: int) -> bool:
        return size < MOST

    def _wait(self, waiting: Any) -> Any:
        """Run the reactor until a Deferred has fired."""
        found: list[Any] = []
        waiting.addBoth(found.append)
        if not self._reactor.running and not found:
            self._reactor.startRunning(installSignalHandlers=True)
        while not found:
            self._reactor.iterate(1)
        if isinstance(found[0], BaseException) or hasattr(found[0], "raiseException"):
            found[0].raiseException()
        return found[0]
