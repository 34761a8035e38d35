"""Chapter 9. Too much work: a million small jobs, and what is in memory of them."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from typing import Any

from ampacity import Pool
from mailroom import WallClock
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater, react


def stamp(number: int) -> int:
    """The number that is printed on the stamp: hardly any work."""
    return number * number % 97


async def all_at_once(pool: Pool, count: int) -> int:
    """What comes to mind first."""
    stamps = [pool.submit(stamp, number).result() for number in range(count)]
    return sum(await gatherResults(stamps))


async def as_they_come(pool: Pool, count: int) -> int:
    """The pool pulls as many numbers as it has room for, and gives stamps as we take them."""
    total = 0
    async for stamped in pool.map(stamp, range(count)):
        total += stamped
    return total


async def in_sheets(pool: Pool, count: int) -> int:
    """A thousand to a sheet: a thousandth of the jobs."""
    sheets = (range(first, min(first + 1000, count)) for first in range(0, count, 1000))
    total = 0
    async for stamped in pool.map(stamp_sheet, sheets):
        total += stamped
    return total


def stamp_sheet(numbers: range) -> int:
    return sum(stamp(number) for number in numbers)


async def slow_reader(pool: Pool, reactor: Any) -> None:
    """Somebody who takes a stamp, and thinks: what piles up in front of them?"""
    pulled = 0

    def endless() -> Iterator[int]:
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled

    taken = ahead = 0
    async for _ in pool.map(stamp, endless(), in_flight=100):
        taken += 1
        ahead = max(ahead, pulled - taken)
        await deferLater(reactor, 0.001)
        if taken == 500:
            break
    print(f"a slow reader took {taken} of endlessly many")
    print(f"never were more than 100 on their way to it: {ahead <= 100}")


WAYS = {"sheets": in_sheets, "come": as_they_come, "once": all_at_once}


async def main(reactor: Any, way: str = "come", count: str = "1000000") -> None:
    async with Pool() as pool:
        if way == "slow":
            return await slow_reader(pool, reactor)
        await pool.submit(stamp, 0)  # the first child is warm
        clock = WallClock()
        ticking = LoopingCall(clock.tick)
        ticking.start(clock.EVERY)
        before = memory()
        clock.mail_came()
        total = await WAYS[way](pool, int(count))
        ticking.stop()
        print(f"{count} stamps, {total} together; memory grew by {memory() - before:.0f} MiB")
        return clock.close()


def memory() -> float:
    """The most memory that this process has had, in MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
