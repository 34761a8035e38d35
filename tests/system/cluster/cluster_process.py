"""One process of a cluster.

``coordinator FOLDER PORT LEASE SILENCE`` or ``agent FOLDER LINE SLOTS GRACE``. It says on stdout,
a JSON object a line, what the tests want to know. SIGTERM ends it well; at SIGUSR1 the coordinator
looks at its records, and says whether they contradict each other.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet import task, threads
from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure


def say(**what: Any) -> None:
    print(json.dumps({"pid": os.getpid(), **what}), flush=True)


def at_the_end(reactor: Any, stop: Callable[[], Coroutine[Deferred[Any], Any, None]]) -> None:
    """SIGTERM stops the reactor, which waits for this."""
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stop()))


async def coordinator(reactor: Any, folder: str, listen: str, lease: str, silence: str) -> None:
    from ampacity.coordinator.credentials import Credentials
    from ampacity.coordinator.driver import Driver
    from ampacity.coordinator.service import CoordinatorService
    from ampacity.coordinator.settings import Settings
    from ampacity.loopwatch import LagMeter
    from ampacity.protocol import limits
    from ampacity.protocol.access import AccessFolder, StateFolder
    from ampacity.protocol.blobs import BlobFolder

    def in_thread(function: Any, *arguments: Any) -> Deferred[Any]:
        return threads.deferToThreadPool(reactor, reactor.getThreadPool(), function, *arguments)

    if float(silence):  # the same three times of asking, in less time
        vars(limits).update(PING_INTERVAL=float(silence) / 3, PING_DEADLINE=float(silence))
    lag = LagMeter(reactor)
    lag.start()
    blobs = BlobFolder(Path(folder) / "blobs", in_thread)
    await blobs.start()
    driver = Driver(reactor, blobs, Settings(lease=float(lease)), lag)
    driver.start()
    credentials = Credentials(StateFolder(Path(folder) / "state"))
    service = CoordinatorService(
        reactor, driver, AccessFolder(Path(folder) / "access"), credentials, [listen]
    )
    service.startService()
    await service.ready
    say(
        worker=service.join_line("worker"),
        client=service.join_line("client"),
        unix=f"unix:{Path(folder) / 'access' / 'coordinator.socket'}",
    )

    def look() -> None:
        try:
            driver.scheduler.check_invariants()
        except Exception:
            say(invariants=Failure().getTraceback())
        else:
            say(invariants="")

    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(look))

    async def stop() -> None:
        await service.stopService()
        await driver.stop()
        lag.stop()

    at_the_end(reactor, stop)


async def agent(reactor: Any, folder: str, line: str, slots: str, grace: str) -> None:
    from ampacity.protocol.access import StateFolder
    from ampacity.workers.agent import Agent
    from ampacity.workers.slots import SlotPool

    own = Path(folder)
    pool = SlotPool(reactor, int(slots), own / "slots", name=own.name)
    state = StateFolder(own / "state")
    service = Agent(reactor, line, pool, folder=own, state=state, grace=float(grace))
    service.startService()
    service.ready.addCallback(lambda name: say(name=name))
    service.done.addErrback(lambda failure: say(error=type(failure.value).__name__))

    async def stop() -> None:
        if service.running:
            await service.stopService()

    at_the_end(reactor, stop)


def main(reactor: Any, role: str, *words: str) -> Deferred[None]:
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    roles: dict[str, Callable[..., Any]] = {"coordinator": coordinator, "agent": agent}
    started = Deferred.fromCoroutine(roles[role](reactor, *words))
    return started.addCallback(lambda _: Deferred())


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
