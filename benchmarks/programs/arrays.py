"""What ``peers.peer`` does with arrays, by ampacity: ``python -m ...arrays ADDRESS WHAT SIZE``."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from twisted.internet import task
from twisted.internet.defer import Deferred

from ... import Pool
from ..jobs import digest, echo, noop, total
from ..peers.peer import PIECE, PIECES, READERS, TRIAL


async def measure(reactor: Any, address: str, what: str, size: int) -> None:
    async with Pool.connect(address, reactor=reactor) as pool:
        await pool.ready()
        await elapsed(pool, noop, list(range(TRIAL)))
        asked = array if what == "array" else shared
        print(json.dumps(await asked(pool, size)))


async def array(pool: Pool, size: int) -> dict[str, Any]:
    await elapsed(pool, echo, [np.zeros(1 << 17)])
    value = np.random.default_rng().random(size // 8)
    return {"seconds": await elapsed(pool, echo, [value])}


async def shared(pool: Pool, size: int) -> dict[str, Any]:
    pieces = [np.random.default_rng().bytes(PIECE) for _ in range(PIECES)]
    digests = PIECE * PIECES / await elapsed(pool, digest, pieces)
    value = np.random.default_rng().random(size // 8)
    return {"digests": digests, "seconds": await elapsed(pool, total, [value] * READERS)}


async def elapsed(pool: Pool, function: Any, arguments: list[Any]) -> float:
    started = time.perf_counter()
    for job in [pool.submit(function, argument) for argument in arguments]:
        await job
    return time.perf_counter() - started


def main(reactor: Any, address: str, what: str, size: str) -> Deferred[None]:
    return Deferred.fromCoroutine(measure(reactor, address, what, int(size)))


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
