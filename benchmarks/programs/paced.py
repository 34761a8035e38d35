"""A client that keeps to a pace: ``python -m ...paced ADDRESS GAUGES SINGLES SECONDS``.

Prints a JSON object: ``idle`` and ``half``, the seconds that jobs took one at a time and at half
of the rate in bulk; ``load``, that half; ``lag`` as histograms by process, at half load.
"""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from ... import Pool
from ..jobs import noop
from ..kit import gauges
from ..kit.openloop import OpenLoop, one_at_a_time
from .client import in_bulk

CALIBRATION = 10_000


async def measure(reactor: Any, address: str, told: str, singles: int, seconds: float) -> None:
    watched = gauges.understood(told)
    async with Pool.connect(address, reactor=reactor) as pool:
        await pool.ready()
        rates = [CALIBRATION / await in_bulk(pool, CALIBRATION) for _ in range(2)]
        load = rates[-1] / 2
        gc.collect()
        gc.freeze()  # once in a run, a look at all that was imported would hold 600 jobs up
        idle = await one_at_a_time(reactor, lambda: in_bulk(pool, 1), singles)
        gauges.reset(watched)
        half = await OpenLoop(reactor, lambda n: pool.submit(noop, n).result(), load).run(seconds)
        readings = gauges.read(watched)
    lag = {name: reading.lag for name, reading in readings.items()}
    print(json.dumps({"idle": idle, "half": half, "load": load, "lag": lag}))


def main(reactor: Any, address: str, told: str, singles: str, seconds: str) -> Deferred[None]:
    return Deferred.fromCoroutine(measure(reactor, address, told, int(singles), float(seconds)))


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
