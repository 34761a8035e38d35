"""Jobs of given durations: ``python -m ...programs.grains ADDRESS RATE DURATION:JOBS...``.

RATE is how many rounds of the kernel's loop a second is worth. Prints ``grains``, a list of
``[duration, jobs, seconds that they took]``.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from ... import Pool
from ..jobs import spin
from ..kit.kernel import loops_for

WARM_UP = 500


def understood(words: tuple[str, ...]) -> list[tuple[float, int]]:
    """Durations and numbers of jobs."""
    pairs = [word.split(":") for word in words]
    return [(float(duration), int(jobs)) for duration, jobs in pairs]


async def measure(reactor: Any, address: str, rate: float, grains: list[tuple[float, int]]) -> None:
    found = []
    async with Pool.connect(address, reactor=reactor) as pool:
        await pool.ready()
        await elapsed(pool, WARM_UP, 1)
        for duration, jobs in grains:
            found.append((duration, jobs, await elapsed(pool, jobs, loops_for(duration, rate))))
    print(json.dumps({"grains": found}))


async def elapsed(pool: Pool, count: int, loops: int) -> float:
    started = time.perf_counter()
    for job in [pool.submit(spin, loops) for _ in range(count)]:
        await job
    return time.perf_counter() - started


def main(reactor: Any, address: str, rate: str, *words: str) -> Deferred[None]:
    return Deferred.fromCoroutine(measure(reactor, address, float(rate), understood(words)))


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
