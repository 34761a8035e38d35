"""Jobs of given durations: ``python -m ...programs.grains ADDRESS SLOTS DURATION:JOBS...``.

Prints ``grains``, a list of ``[duration, efficiency]``: the work that was done, as a part of what
bare processes do in that time. What these do is measured between any two durations, and every half
a second.
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
from ..kit.grain import pieces, point
from ..kit.kernel import Setting, Yardstick, loops_for

WARM_UP = 500


def understood(words: tuple[str, ...]) -> list[tuple[float, int]]:
    """Durations and numbers of jobs."""
    pairs = [word.split(":") for word in words]
    return [(float(duration), int(jobs)) for duration, jobs in pairs]


async def measure(reactor: Any, address: str, slots: int, grains: list[tuple[float, int]]) -> None:
    found = []
    with Yardstick(slots) as yardstick:
        async with Pool.connect(address, reactor=reactor) as pool:
            await pool.ready()
            await elapsed(pool, WARM_UP, 1)
            setting = Setting(yardstick)
            rate = yardstick.rate() / slots
            for duration, jobs in grains:
                loops = loops_for(duration, rate)
                measured = [
                    (count, await elapsed(pool, count, loops), setting.speed())
                    for count in pieces(duration, jobs, slots)
                ]
                found.append(point(loops, slots, measured))
    print(json.dumps({"grains": found}))


async def elapsed(pool: Pool, count: int, loops: int) -> float:
    started = time.perf_counter()
    for job in [pool.submit(spin, loops) for _ in range(count)]:
        await job
    return time.perf_counter() - started


def main(reactor: Any, address: str, slots: str, *words: str) -> Deferred[None]:
    return Deferred.fromCoroutine(measure(reactor, address, int(slots), understood(words)))


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
