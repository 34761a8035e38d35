"""A cold pool on this machine: ``python -m ...programs.cold_pool STARTED SLOTS``.

STARTED is the UNIX time at which this interpreter was started. Prints the seconds since then, at
which the library was ``imported``, and the ``first result`` and one from ``every slot`` were there.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from ... import Pool
from ..jobs import linger

PAUSE = 0.05


async def measure(reactor: Any, started: float, slots: int) -> None:
    found = {"imported": time.time() - started}
    async with Pool(slots=slots, reactor=reactor) as pool:
        await pool.submit(linger, 0.0)
        found["first result"] = time.time() - started
        pids: set[int] = set()
        while len(pids) < slots:
            for job in [pool.submit(linger, PAUSE) for _ in range(slots)]:
                pids.add(await job)
        found["every slot"] = time.time() - started
    print(json.dumps(found))


def main(reactor: Any, started: str, slots: str) -> Deferred[None]:
    return Deferred.fromCoroutine(measure(reactor, float(started), int(slots)))


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
