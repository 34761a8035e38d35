"""One measurement in a fresh process: ``python -m ampacity.benchmarks.bulk ADDRESS N``.

Prints a JSON object: jobs a second for N ``submit`` calls without waiting in between, and the
median seconds of jobs that are submitted one at a time.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from .. import Pool
from .jobs import noop

WARM_UP = 1000
SINGLES = 300


async def measure(reactor: Any, address: str, count: int) -> None:
    async with Pool.connect(address, reactor=reactor) as pool:
        await pool.ready()
        await in_bulk(pool, WARM_UP)
        rate = count / await in_bulk(pool, count)
        single = statistics.median([await in_bulk(pool, 1) for _ in range(SINGLES)])
    print(json.dumps({"rate": rate, "single": single}))


async def in_bulk(pool: Pool, count: int) -> float:
    """Seconds from the first call to the last result."""
    started = time.perf_counter()
    jobs = [pool.submit(noop, number) for number in range(count)]
    for number, job in enumerate(jobs):
        assert await job == number
    return time.perf_counter() - started


def main(reactor: Any, address: str, count: str) -> Deferred[None]:
    return Deferred.fromCoroutine(measure(reactor, address, int(count)))


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
