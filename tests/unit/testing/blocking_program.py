"""A program that has no reactor, and what it finds in the kit."""

from __future__ import annotations

import math

import ampacity
from ampacity.testing import BlockingInlinePool, Crashes, Runs


def main() -> None:
    with BlockingInlinePool() as pool:
        print(pool.submit(math.factorial, 5).result(5))
        print(list(pool.map(math.sqrt, [1, 4, 9])))
        pool.plan(math.sqrt, Crashes(), Runs(seconds=60))
        job = pool.submit(math.sqrt, 16)
        print(job.result(5), job.info().losses)
        pool.plan(math.sqrt, Crashes("SIGSEGV"))
        try:
            pool.submit(math.sqrt, 16).result(5)
        except ampacity.JobCrashed as e:
            print((e.evidence or {})["signal"])
        pool.refuse(ampacity.QueueFull())
        try:
            pool.submit(math.sqrt, 16).result(5)
        except ampacity.QueueFull as e:
            print(e)
        pool.refuse(None)
        pool.advance(10)
    lent = BlockingInlinePool(pickling=False)
    things: list[object] = []
    lent.submit(things.append, things).result(5)
    print(things[0] is things)
    lent.close()


if __name__ == "__main__":
    main()
