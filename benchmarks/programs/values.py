"""Values there and back: ``python -m ...programs.values ADDRESS GAUGES (array | sizes) SIZE...``.

Prints a JSON object. For ``sizes``: ``to a child`` and ``back``, lists of ``[size, [seconds...]]``,
and ``lag`` as histograms by process. For ``array``: ``seconds`` that an array of so many bytes
takes to a child and back, and ``more``, the bytes by which the coordinator's memory grew at most.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from twisted.internet import task
from twisted.internet.defer import Deferred

from ... import Pool
from ..jobs import echo, give, take
from ..kit import gauges

BYTES = 1 << 27
"""Of each size together, at least one value."""
MOST, LARGE = 200, 1 << 29
SMALL = 1 << 20


async def measure(reactor: Any, address: str, told: str, what: str, sizes: list[int]) -> None:
    watched = gauges.understood(told)
    async with Pool.connect(address, reactor=reactor) as pool:
        await pool.ready()
        for _ in range(20):
            await pool.submit(take, b"")
        found = await (array if what == "array" else each)(pool, watched, sizes)
    print(json.dumps(found))


async def each(pool: Pool, watched: dict[str, Path], sizes: list[int]) -> dict[str, Any]:
    gauges.reset(watched)
    there = [(size, [await to(pool, size) for _ in range(times(size))]) for size in sizes]
    back = [(size, [await fro(pool, size) for _ in range(times(size))]) for size in sizes]
    lag = {name: reading.lag for name, reading in gauges.read(watched).items()}
    return {"to a child": there, "back": back, "lag": lag}


async def array(pool: Pool, watched: dict[str, Path], sizes: list[int]) -> dict[str, Any]:
    await there_and_back(pool, SMALL)  # numpy is imported in the child
    before = gauges.memory(watched["coordinator"])
    gauges.reset(watched)
    seconds = await there_and_back(pool, sizes[0])
    return {"seconds": seconds, "more": gauges.read(watched)["coordinator"].peak - before}


def times(size: int) -> int:
    return 1 if size >= LARGE else max(3, min(MOST, BYTES // size))


async def to(pool: Pool, size: int) -> float:
    value = os.urandom(min(size, 1 << 16)) * (size // min(size, 1 << 16))
    value = os.urandom(8) + value[8:]  # none that has been sent before
    started = time.perf_counter()
    assert await pool.submit(take, value) == len(value)
    return time.perf_counter() - started


async def fro(pool: Pool, size: int) -> float:
    started = time.perf_counter()
    assert len(await pool.submit(give, size)) == size
    return time.perf_counter() - started


async def there_and_back(pool: Pool, size: int) -> float:
    value = np.random.default_rng().random(size // 8)
    started = time.perf_counter()
    result = await pool.submit(echo, value)
    elapsed = time.perf_counter() - started
    assert result[-1] == value[-1]
    return elapsed


def main(reactor: Any, address: str, told: str, what: str, *sizes: str) -> Deferred[None]:
    measuring = measure(reactor, address, told, what, [int(size) for size in sizes])
    return Deferred.fromCoroutine(measuring)


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
