"""Chapters 0, 10 and 11. The same program on a cluster: only the pool is another one."""

from __future__ import annotations

from typing import Any

import mailroom
from ampacity import NoCoordinator, Pool
from mailroom import GOOD_NIGHT, WallClock, hang, render, take_mail
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater, react


async def draw(pool: Pool, message: str) -> None:
    picture = await pool.submit(render, message)
    hang(message, picture)


async def main(reactor: Any) -> None:
    async with Pool.connect() as pool:
        pool.ship(mailroom)  # machines that have no mailroom.py get it with the jobs
        clock = WallClock()
        ticking = LoopingCall(clock.tick)
        ticking.start(clock.EVERY)
        drawing: list[Deferred[None]] = []
        closing = False
        while not closing:
            for message in take_mail():
                clock.mail_came()
                if message == GOOD_NIGHT:
                    closing = True
                else:
                    drawing.append(Deferred.fromCoroutine(draw(pool, message)))
            await deferLater(reactor, 0.05)
        await gatherResults(drawing)
        ticking.stop()
        clock.close()


def run(reactor: Any) -> Deferred[None]:
    def nobody_there(error: Any) -> None:
        error.trap(NoCoordinator)
        raise SystemExit(error.getErrorMessage())

    return Deferred.fromCoroutine(main(reactor)).addErrback(nobody_there)


if __name__ == "__main__":
    react(run)
