"""The floor: the same hops with stock AMP, frames of 64 jobs, and nothing else.

Client, coordinator, agent and ampoule children, each a process, over UNIX sockets; no queue, no
state, no time-outs, no output. What ampacity does besides has to fit in what this leaves.
``python -m ...programs.relay client WORKERS COUNT SINGLES`` prints ``rate`` and ``singles`` as
``client`` does.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString
from twisted.internet.protocol import Factory
from twisted.protocols import amp

from ...protocol.packing import pack, unpack_list
from ..jobs import noop
from .client import WARM_UP

FRAME = 64
IN_FLIGHT = 16


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


async def client(reactor: Any, workers: str, count: str, singles: str) -> None:
    with tempfile.TemporaryDirectory(prefix="ampacity-") as folder:
        services = [start("agent", folder, workers)]
        try:
            wait_for(Path(folder) / "agent")
            services.append(start("coordinator", folder))
            wait_for(Path(folder) / "coordinator")
            relay = await connect(reactor, f"{folder}/coordinator")
            await in_bulk(relay, min(WARM_UP, int(count)))
            rate = int(count) / await in_bulk(relay, int(count))
            found = [await in_bulk(relay, 1) for _ in range(int(singles))]
        finally:
            for service in services:
                service.terminate()
                service.wait()
    print(json.dumps({"rate": rate, "singles": found}))


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
            for job, result in zip(answered, unpack_list(answer["results"]), strict=True):
                job.callback(pickle.loads(result))

    for _ in range(IN_FLIGHT):
        send(None, [])
    for number, job in enumerate(jobs):
        assert await job == number
    return time.perf_counter() - started


def start(role: str, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", __spec__.name, role, *words])


def wait_for(path: Path) -> None:
    for _ in range(200):
        if path.exists():
            return
        time.sleep(0.05)
    raise TimeoutError(f"{path} did not appear")


if __name__ == "__main__":
    from twisted.internet import task

    role, *words = sys.argv[1:]
    ways: dict[str, Any] = {"agent": agent, "coordinator": coordinator, "client": client}
    way = ways[role]
    task.react(lambda reactor: Deferred.fromCoroutine(way(reactor, *words)))
