"""Keeps every slot at work: ``python -m ...programs.busy ADDRESS JOBS``.

So many long jobs are always there; a line is printed once the first one has ended. The jobs are
cancelled when nobody has heard of this process for a while. They travel by value, and so go to
workers of this Python alone: not to simulated ones.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from ... import Pool
from ..jobs import spin

LOOPS = 5_000_000
"""About a tenth of a second."""


async def work(reactor: Any, address: str, count: int) -> None:
    async with Pool.connect(address, reactor=reactor) as pool:
        view = pool.options(orphans="cancel")

        def long() -> int:
            return spin(LOOPS)

        async def again() -> None:
            while True:
                await view.submit(long)

        await view.submit(long)
        print(flush=True)

        for _ in range(count):
            Deferred.fromCoroutine(again())
        await Deferred()


def main(reactor: Any, address: str, count: str) -> Deferred[None]:
    return Deferred.fromCoroutine(work(reactor, address, int(count)))


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
