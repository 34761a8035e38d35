"""A client's program that does its work: a small job every few milliseconds, over TLS.

``measure`` on its standard input: it tells, in JSON, how the jobs went that it submitted since
the last time, as soon as they have all ended.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from ampacity import Pool
from ampacity.client.folders import import_folders, working_folder
from ampacity.workers.machine import identity
from twisted.internet import stdio, task
from twisted.internet.defer import Deferred, DeferredList
from twisted.protocols.basic import LineReceiver

INTERVAL = 0.015
LOST_SECONDS = 20.0


def work(number: int) -> int:
    return number * number


class Steady(LineReceiver):
    """Submits, and measures."""

    delimiter = b"\n"

    def __init__(self, reactor: Any, pool: Pool) -> None:
        self._reactor = reactor
        self._pool = pool
        self._count = 0
        self._begin()

    def _begin(self) -> None:
        self._times: list[float] = []
        self._ends: list[Deferred[Any]] = []
        self._wrong = [0]

    def submit(self) -> None:
        """One job."""
        self._count += 1
        number, began = self._count, time.perf_counter()
        times, wrong = self._times, self._wrong

        def ended(value: Any) -> None:
            times.append(round(time.perf_counter() - began, 5))
            if value != number * number:
                wrong[0] += 1
                print("wrong:", number, value, file=sys.stderr, flush=True)

        self._ends.append(self._pool.submit(work, number).result().addBoth(ended))

    def lineReceived(self, line: bytes) -> None:
        times, ends, wrong = self._times, self._ends, self._wrong
        self._begin()

        def tell() -> None:
            report = {"times": times, "wrong": wrong[0], "lost": len(ends) - len(times)}
            self.sendLine(json.dumps(report).encode())

        late = self._reactor.callLater(LOST_SECONDS, tell)

        def ended(_: Any) -> None:
            if late.active():
                late.cancel()
                tell()

        DeferredList(ends).addCallback(ended)

    def connectionLost(self, reason: Any = None) -> None:
        if self._reactor.running:
            self._reactor.stop()


async def main(reactor: Any) -> None:
    pool = Pool.connect(os.environ.pop("ORDINARY_LINE"))
    await pool.ready()
    context = {"host": identity(), "folder": working_folder(), "path": import_folders()}
    Path("context.json").write_text(json.dumps(context))
    steady = Steady(reactor, pool)
    stdio.StandardIO(steady)
    submitting = task.LoopingCall(steady.submit)
    await submitting.start(INTERVAL)


if __name__ == "__main__":
    task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
