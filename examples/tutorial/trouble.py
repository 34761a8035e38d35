"""Chapter 8. What may go wrong with a job, and how one is told."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from ampacity import JobCancelled, JobCrashed, JobError, JobTimedOut, Pool
from mailroom import WallClock, hang, render
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater, react


def render_politely(message: str) -> bytes:
    if not message:
        raise ValueError("an empty message has no picture")
    return render(message)


def render_forever(message: str) -> bytes:
    print("drawing", message, "as large as the sky")
    while True:
        render(message)


def crash(message: str) -> bytes:
    """What a mistake in a library written in C does: the process is gone, in the middle."""
    print("drawing", message, "with broken colours")
    os.kill(os.getpid(), signal.SIGSEGV)
    return render(message)


def render_with_luck(message: str) -> bytes:
    """Fails twice: the paint shop is closed."""
    tries = Path("tries")
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    if len(tries.read_text()) < 3:
        raise ConnectionError("the paint shop does not answer")
    return render(message)


def why(error: JobError) -> str:
    """What is known about the end of a process, in a sentence."""
    return str((error.evidence or {}).get("reason"))


async def errors(pool: Pool) -> None:
    try:
        hang("nobody", await pool.submit(render_politely, ""))
    except ValueError as error:
        print("an error comes as itself:", error)


async def time_outs(pool: Pool) -> None:
    job = pool.options(timeout=0.5).submit(render_forever, "ada")
    try:
        hang("ada", await job)
    except JobTimedOut as error:
        print("too long:", why(error))
        print("    it had printed:", error.output.strip())


async def cancelling(pool: Pool, reactor: Any) -> None:
    job = pool.submit(render_forever, "grace")
    while (await job.info()).state != "running":
        await deferLater(reactor, 0.05)
    job.cancel()
    try:
        hang("grace", await job)
    except JobCancelled as error:
        print("not wanted any more:", why(error))


async def crashes(pool: Pool) -> None:
    neighbour = pool.submit(render, "edsger")
    try:
        hang("barbara", await pool.options(max_losses=0).submit(crash, "barbara"))
    except JobCrashed as error:
        print("its process died:", why(error))
        print("    it had printed:", error.output.strip())
    hang("edsger", await neighbour)


async def retries(pool: Pool) -> None:
    stubborn = pool.options(retries=5, retry_on=ConnectionError, backoff=0.1)
    job = stubborn.submit(render_with_luck, "ada")
    hang("ada", await job)
    for _, what in (await job.info()).story:
        if "attempt" in what:
            print("   ", what)


async def main(reactor: Any) -> None:
    async with Pool(slots=2) as pool:
        clock = WallClock()
        clock.mail_came()
        ticking = LoopingCall(clock.tick)
        ticking.start(clock.EVERY)
        await errors(pool)
        await time_outs(pool)
        await cancelling(pool, reactor)
        await crashes(pool)
        await retries(pool)
        ticking.stop()
        clock.close()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
