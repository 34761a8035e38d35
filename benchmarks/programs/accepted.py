"""How long until jobs are accepted: ``python -m ...programs.accepted ADDRESS GAUGES SINGLES JOBS``.

Prints a JSON object: ``singles`` and ``frames``, the seconds from sending a frame of one job, and a
full one among others, to its answer; ``rate`` in jobs a second and ``cpu`` of the coordinator in
seconds a job, both with full frames; ``lag`` as a histogram; ``commits``: jobs a commit in
``singles`` and ``frames``, commits a second as ``rate``, ``all`` of them.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults

from ...protocol.jobs import JobSpec, Submission, pack_spec
from ...protocol.limits import FRAME_JOBS
from ..kit import gauges
from .frames import Frames

SPEC = pack_spec(JobSpec(kind="import", target="ampacity.benchmarks.jobs:noop"))
PAYLOAD = bytes(100)


async def measure(reactor: Any, address: str, told: str, singles: int, jobs: int) -> None:
    watched = gauges.understood(told)
    client = await Frames.open(reactor, address)
    for _ in range(50):
        await one(client)
    before = await commits(client)
    alone = [await one(client) for _ in range(singles)]
    between = await commits(client)
    gauges.reset(watched)
    started = time.perf_counter()
    frames = await full(client, jobs)
    elapsed = time.perf_counter() - started
    reading = gauges.read(watched)["coordinator"]
    after = await commits(client)
    count = len(frames) * FRAME_JOBS
    found = {
        "singles": alone,
        "frames": frames,
        "rate": count / elapsed,
        "cpu": reading.cpu / count,
        "lag": reading.lag,
        "commits": {
            "singles": singles / max(1, between - before),
            "frames": count / max(1, after - between),
            "rate": (after - between) / elapsed,
            "all": after,
        },
    }
    print(json.dumps(found))


async def commits(client: Frames) -> int:
    """As many as the store has done so far."""
    disk = (await client.query("status"))["disk"]
    return 0 if disk is None else int(disk["commits"])


async def one(client: Frames) -> float:
    started = time.perf_counter()
    await client.submit([Submission(SPEC, PAYLOAD)])
    return time.perf_counter() - started


async def full(client: Frames, jobs: int) -> list[float]:
    """The seconds from sending to the answer, of each full frame."""
    taken: list[float] = []

    def answered(_ids: Any, started: float) -> None:
        taken.append(time.perf_counter() - started)

    answers = []
    for _ in range(jobs // FRAME_JOBS):
        await client.room()
        sent = client.in_flight([Submission(SPEC, PAYLOAD) for _ in range(FRAME_JOBS)])
        answers.append(sent.addCallback(answered, time.perf_counter()))
    await gatherResults(answers, consumeErrors=True)
    return taken


def main(reactor: Any, address: str, told: str, singles: str, jobs: str) -> Deferred[None]:
    return Deferred.fromCoroutine(measure(reactor, address, told, int(singles), int(jobs)))


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
