"""``Pool.map`` of a fresh client: ``python -m ...programs.mapped ADDRESS COUNT``.

Prints a JSON object: ``mapped``, no-op jobs a second, each of them a job of its own all the same.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from ... import Pool
from ..jobs import noop

WARM_UP = 1000


async def measure(reactor: Any, address: str, count: int) -> None:
    async with Pool.connect(address, reactor=reactor) as pool:
        await pool.ready()
        await elapsed(pool, min(WARM_UP, count))
        rate = count / await elapsed(pool, count)
    print(json.dumps({"mapped": rate}))


async def elapsed(pool: Pool, count: int) -> float:
    started = time.perf_counter()
    assert await pool.map(noop, range(count)) == list(range(count))
    return time.perf_counter() - started


def main(reactor: Any, address: str, count: str) -> Deferred[None]:
    return Deferred.fromCoroutine(measure(reactor, address, int(count)))


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
