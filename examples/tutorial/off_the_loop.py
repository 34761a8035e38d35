"""Chapter 7. Off the loop: the same Deferred, and the work is done in another process."""

from __future__ import annotations

from typing import Any

from ampacity import Pool
from mailroom import GOOD_NIGHT, WallClock, hang, render, take_mail
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater, react


async def draw(pool: Pool, message: str) -> None:
    picture = await pool.submit(render, message)
    hang(message, picture)


async def main(reactor: Any) -> None:
    async with Pool() as pool:
        await pool.ready()
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


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
