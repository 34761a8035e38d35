"""The floor: the same hops with stock AMP, frames of 64 jobs, and nothing else.

Client, coordinator, agent and ampoule children, each a process, over UNIX sockets; no queue, no
state, no time-outs, no output. What ampacity does besides has to fit in what this leaves.
``python -m ...programs.relay client WORKERS COUNT SINGLES`` prints ``rate`` and ``singles`` as
``client`` does, ``... paced WORKERS SINGLES SECONDS`` prints ``idle``, ``half`` and ``load`` as
``paced`` does.
"""

from __future__ import annotations

import gc
import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString
from twisted.internet.protocol import Factory
from twisted.protocols import amp

from ...protocol.packing import pack, unpack_list
from ..jobs import noop
from ..kit.openloop import OpenLoop, one_at_a_time
from .client import WARM_UP

FRAME = 64
IN_FLIGHT = 16
CALIBRATION = 60_000
"""Jobs in bulk, of which half the rate is half load."""


class Run(amp.Command):
    """A frame of pickled calls, answered by a frame of pickled results."""

    arguments: ClassVar = [(b"jobs", amp.String())]
    response: ClassVar = [(b"results", amp.String())]


def run_frame(jobs: bytes) -> bytes:
    """What a child does with a frame."""
    results = []
    for call in unpack_list(jobs):
        function, arguments = pickle.loads(call)
        results.append(pickle.dumps(function(*arguments)))
    return pack(results)


class Hop(amp.AMP):
    """Hands a frame on, and the answer back."""

    def __init__(self, onward: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's own is untyped
        self._onward = onward

    @Run.responder
    def run(self, jobs: bytes) -> Deferred[dict[str, Any]]:
        return self._onward(jobs)  # type: ignore[no-any-return] # a Deferred of the answer


def listen(reactor: Any, path: str, onward: Any) -> Any:
    factory = Factory.forProtocol(lambda: Hop(onward))
    return serverFromString(reactor, f"unix:{path}").listen(factory)


def connect(reactor: Any, path: str) -> Any:
    return connectProtocol(clientFromString(reactor, f"unix:{path}"), amp.AMP())


async def agent(reactor: Any, folder: str, workers: str) -> None:
    from ampoule.main import ProcessStarter
    from ampoule.pool import ProcessPool

    from .relay_child import Child

    starter = ProcessStarter(packages=("twisted", "ampoule"))
    count = int(workers)
    pool = ProcessPool(Child, min=count, max=count, recycleAfter=0, starter=starter)
    await pool.start()
    await listen(reactor, f"{folder}/agent", lambda jobs: pool.doWork(Run, jobs=jobs))
    await Deferred()


async def coordinator(reactor: Any, folder: str) -> None:
    worker = await connect(reactor, f"{folder}/agent")
    await listen(reactor, f"{folder}/coordinator", lambda jobs: worker.callRemote(Run, jobs=jobs))
    await Deferred()


@asynccontextmanager
async def started(reactor: Any, workers: str) -> AsyncIterator[amp.AMP]:
    """Agent and coordinator, and a connection."""
    with tempfile.TemporaryDirectory(prefix="ampacity-") as folder:
        services = [start("agent", folder, workers)]
        try:
            wait_for(Path(folder) / "agent")
            services.append(start("coordinator", folder))
            wait_for(Path(folder) / "coordinator")
            yield await connect(reactor, f"{folder}/coordinator")
        finally:
            for service in services:
                service.terminate()
                service.wait()


async def client(reactor: Any, workers: str, count: str, singles: str) -> None:
    async with started(reactor, workers) as relay:
        await in_bulk(relay, min(WARM_UP, int(count)))
        rate = int(count) / await in_bulk(relay, int(count))
        found = [await in_bulk(relay, 1) for _ in range(int(singles))]
    print(json.dumps({"rate": rate, "singles": found}))


async def paced(reactor: Any, workers: str, singles: str, seconds: str) -> None:
    async with started(reactor, workers) as relay:
        await in_bulk(relay, CALIBRATION)
        load = CALIBRATION / await in_bulk(relay, CALIBRATION) / 2
        gc.collect()
        gc.freeze()
        idle = await one_at_a_time(reactor, lambda: in_bulk(relay, 1), int(singles))
        half = await OpenLoop(reactor, Gathered(reactor, relay).submit, load).run(float(seconds))
    print(json.dumps({"idle": idle, "half": half, "load": load}))


class Gathered:
    """Jobs that come one by one: those of a turn leave together, in as many frames as in bulk."""

    def __init__(self, reactor: Any, relay: amp.AMP) -> None:
        self._reactor = reactor
        self._relay = relay
        self._waiting: list[tuple[bytes, Deferred[int]]] = []
        self._in_flight = 0

    def submit(self, number: int) -> Deferred[int]:
        """A Deferred a job, as ``submit`` has."""
        if not self._waiting:
            self._reactor.callLater(0, self._send)
        job: Deferred[int] = Deferred()
        self._waiting.append((pickle.dumps((noop, (number,))), job))
        return job

    def _send(self) -> None:
        while self._waiting and self._in_flight < IN_FLIGHT:
            frame, self._waiting = self._waiting[:FRAME], self._waiting[FRAME:]
            self._in_flight += 1
            asked = self._relay.callRemote(Run, jobs=pack([call for call, _ in frame]))
            asked.addCallback(self._answered, [job for _, job in frame])

    def _answered(self, answer: dict[str, bytes], jobs: list[Deferred[int]]) -> None:
        self._in_flight -= 1
        self._send()
        tell(answer, jobs)


async def in_bulk(relay: amp.AMP, count: int) -> float:
    """Seconds from the first call to the last result; a Deferred a job, as ``submit`` has."""
    started = time.perf_counter()
    jobs: list[Deferred[int]] = []
    waiting: deque[tuple[bytes, list[Deferred[int]]]] = deque()
    for first in range(0, count, FRAME):
        numbers = range(first, min(first + FRAME, count))
        promised: list[Deferred[int]] = [Deferred() for _ in numbers]
        waiting.append((pack([pickle.dumps((noop, (n,))) for n in numbers]), promised))
        jobs += promised

    def send(answer: dict[str, bytes] | None, answered: list[Deferred[int]]) -> None:
        if waiting:
            frame, promised = waiting.popleft()
            relay.callRemote(Run, jobs=frame).addCallback(send, promised)
        if answer is not None:
            tell(answer, answered)

    for _ in range(IN_FLIGHT):
        send(None, [])
    for number, job in enumerate(jobs):
        assert await job == number
    return time.perf_counter() - started


def tell(answer: dict[str, bytes], jobs: list[Deferred[int]]) -> None:
    for job, result in zip(jobs, unpack_list(answer["results"]), strict=True):
        job.callback(pickle.loads(result))


def start(role: str, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", __spec__.name, role, *words])


def wait_for(path: Path) -> None:
    for _ in range(200):
        if path.exists():
            return
        time.sleep(0.05)
    raise TimeoutError(f"{path} did not appear")


if __name__ == "__main__":
    role, *words = sys.argv[1:]
    ways: dict[str, Any] = {
        "agent": agent,
        "coordinator": coordinator,
        "client": client,
        "paced": paced,
    }
    way = ways[role]
    task.react(lambda reactor: Deferred.fromCoroutine(way(reactor, *words)))
