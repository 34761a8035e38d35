"""A client of a coordinator: ``python -m ...client ADDRESS GAUGES COUNT SINGLES [BLANK]``.

COUNT no-op jobs are submitted without waiting in between, then SINGLES of them one at a time.
BLANK is given where simulated workers answer, who send the same result for every job.
Prints a JSON object: ``rate`` in jobs a second, ``cpu`` in seconds a job by process, ``lag`` as
histograms and ``longest`` lags by process, and ``singles``, the seconds that each took.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from ... import Pool
from ..gauged import own_cpu
from ..jobs import noop
from ..kit import gauges

WARM_UP = 10_000
"""The first jobs of a process cost it a third more: memory that it has not had, and one look of the
collector at all that it has imported."""


async def measure(
    reactor: Any, address: str, told: str, count: int, singles: int, blank: bool
) -> None:
    watched = gauges.understood(told)
    async with Pool.connect(address, reactor=reactor) as pool:
        await pool.ready()
        await in_bulk(pool, min(WARM_UP, count), blank)
        gauges.reset(watched)
        cpu = own_cpu()
        elapsed = await in_bulk(pool, count, blank)
        cpu = own_cpu() - cpu
        found = told_of(gauges.read(watched), cpu, count)
        found["rate"] = count / elapsed
        found["singles"] = [await in_bulk(pool, 1) for _ in range(singles)]
    print(json.dumps(found))


def told_of(readings: dict[str, gauges.Reading], cpu: float, count: int) -> dict[str, Any]:
    """What client and services did for so many jobs."""
    seconds = {"client": cpu, **{name: reading.cpu for name, reading in readings.items()}}
    if "agent" in readings:
        seconds["children"] = readings["agent"].children
    return {
        "cpu": {name: used / count for name, used in seconds.items()},
        "lag": {name: reading.lag for name, reading in readings.items()},
        "longest": {name: reading.longest for name, reading in readings.items()},
    }


async def in_bulk(pool: Pool, count: int, blank: bool = False) -> float:
    """Seconds from the first call to the last result."""
    started = time.perf_counter()
    jobs = [pool.submit(noop, number) for number in range(count)]
    for number, job in enumerate(jobs):
        result = await job
        assert blank or result == number
    return time.perf_counter() - started


def main(
    reactor: Any, address: str, told: str, count: str, singles: str, *blank: str
) -> Deferred[None]:
    measuring = measure(reactor, address, told, int(count), int(singles), bool(blank))
    return Deferred.fromCoroutine(measuring)


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
