"""A program for ``test_reactors.py``: ``reactor_program.py REACTOR``."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from typing import Any


def install(name: str) -> None:
    match name:
        case "default":
            pass
        case "select":
            from twisted.internet import selectreactor

            selectreactor.install()
        case "poll":
            from twisted.internet import pollreactor

            pollreactor.install()
        case "asyncio" | "uvloop":
            if name == "uvloop":
                import uvloop as loops
            else:
                loops: Any = asyncio  # type: ignore[no-redef]  # the same call
            loop = loops.new_event_loop()
            asyncio.set_event_loop(loop)
            from twisted.internet import asyncioreactor

            asyncioreactor.install(loop)


def square(n: int) -> int:
    return n * n


def fails() -> None:
    raise LookupError("as it should")


async def numbers(on_asyncio: bool) -> Any:
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    for n in range(5):
        await (asyncio.sleep(0.001) if on_asyncio else deferLater(reactor, 0.001))
        yield n


async def use(pool: Any, on_asyncio: bool) -> None:
    await pool.ready()
    assert await pool.submit(math.factorial, 5) == 120
    assert await pool.map(square, range(10)) == [n * n for n in range(10)]
    assert [n async for n in pool.map(square, numbers(on_asyncio))] == [0, 1, 4, 9, 16]
    assert sorted([n async for n in pool.map(square, [3, 2]).as_completed()]) == [4, 9]
    try:
        await pool.submit(fails)
    except LookupError as error:
        assert "as it should" in vars(error)["remote_traceback"]
    else:
        raise AssertionError("no error")


async def in_a_task(pool: Any) -> None:
    await use(pool, on_asyncio=True)
    jobs = [pool.submit(square, n) for n in range(3)]
    assert await asyncio.gather(*jobs) == [0, 1, 4]
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(pool.submit(__import__("time").sleep, 60), 0.2)
    async with asyncio.timeout(20):
        assert await pool.submit(square, 9) == 81


def main() -> None:
    name = sys.argv[1]
    from ampacity import Pool

    pool = Pool(slots=1)
    early = pool.options(name="early")
    assert "twisted.internet.reactor" not in sys.modules, "a pool touches no reactor before use"
    install(name)
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred, inlineCallbacks

    before = early.submit(square, 12)

    @inlineCallbacks
    def run() -> Any:
        assert (yield before) == 144
        yield Deferred.fromCoroutine(use(pool, on_asyncio=False))
        if name in ("asyncio", "uvloop"):
            loop = asyncio.get_running_loop()
            yield Deferred.fromFuture(loop.create_task(in_a_task(pool)))

    def end(result: Any) -> None:
        print("done" if result is None else result.getTraceback())
        reactor.stop()  # closes the pool

    reactor.callWhenRunning(lambda: run().addBoth(end))
    reactor.run()
    print(type(reactor).__name__)


if __name__ == "__main__":
    main()
