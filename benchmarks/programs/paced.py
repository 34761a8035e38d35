"""A client that keeps to a pace: ``python -m ...paced ADDRESS GAUGES SINGLES SECONDS``.

Prints a JSON object: ``idle`` and ``half``, the seconds that jobs took one at a time and at half
of the rate in bulk; ``load``, that half; ``lag`` as histograms by process, at half load.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from ... import Pool
from ..jobs import noop
from ..kit import gauges
from .client import in_bulk

CALIBRATION = 10_000
PAUSE = 0.001


async def measure(reactor: Any, address: str, told: str, singles: int, seconds: float) -> None:
    watched = gauges.understood(told)
    async with Pool.connect(address, reactor=reactor) as pool:
        await pool.ready()
        rates = [CALIBRATION / await in_bulk(pool, CALIBRATION) for _ in range(2)]
        load = rates[-1] / 2
        gc.collect()
        gc.freeze()  # once in a run, a look at all that was imported would hold 600 jobs up
        idle = []
        for _ in range(singles):
            idle.append(await in_bulk(pool, 1))
            await task.deferLater(reactor, PAUSE)
        gauges.reset(watched)
        half = await Pace(reactor, pool, load).run(seconds)
        readings = gauges.read(watched)
    lag = {name: reading.lag for name, reading in readings.items()}
    print(json.dumps({"idle": idle, "half": half, "load": load, "lag": lag}))


class Pace:
    """Jobs at even distances, whatever becomes of those before: an open loop."""

    def __init__(self, reactor: Any, pool: Pool, rate: float) -> None:
        self._reactor = reactor
        self._pool = pool
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
            self._pool.submit(noop, self._sent).result().addCallback(self._ended, due)
            self._sent += 1

    def _ended(self, _number: int, due: float) -> None:
        self._taken.append(time.perf_counter() - due)
        if len(self._taken) == self._count:
            self._done.callback(None)


def main(reactor: Any, address: str, told: str, singles: str, seconds: str) -> Deferred[None]:
    return Deferred.fromCoroutine(measure(reactor, address, told, int(singles), float(seconds)))


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
