"""Jobs without end: ``python -m ...programs.million ADDRESS GAUGES JOBS``.

JOBS jobs are submitted that no worker may take, listed page by page and by their ids, and
cancelled. Prints a JSON object: ``memory`` with the coordinator's resident bytes at ten points,
``parts`` with the readings of coordinator and agent in each part, ``seconds`` by part.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import attrs
from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults

from ...protocol.jobs import JobSpec, Submission, pack_spec
from ...protocol.limits import FRAME_JOBS, JOBS_A_QUESTION
from ..kit import gauges
from .frames import Frames

SPEC = pack_spec(JobSpec(kind="import", target="ampacity.benchmarks.jobs:noop", python="2.7"))
"""No worker's children run that Python: these jobs wait."""
PAYLOAD = 100
POINTS = 10
PAGES = 40
IDS = 10_000


class Parts:
    """Reads the gauges for each part of the work."""

    def __init__(self, told: str) -> None:
        self._gauges = gauges.understood(told)
        self.parts: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, float] = {}

    def begin(self) -> None:
        gauges.reset(self._gauges)
        self._since = time.monotonic()

    def end(self, part: str) -> None:
        self.seconds[part] = time.monotonic() - self._since
        readings = gauges.read(self._gauges)
        self.parts[part] = {name: attrs.asdict(reading) for name, reading in readings.items()}


async def measure(reactor: Any, address: str, told: str, count: int) -> None:
    client, parts = await Frames.open(reactor, address), Parts(told)
    coordinator = gauges.understood(told)["coordinator"]
    points: list[tuple[int, int]] = []
    parts.begin()
    for point in range(1, POINTS + 1):
        await submit(client, count * point // POINTS - count * (point - 1) // POINTS)
        points.append((count * point // POINTS, gauges.memory(coordinator)))
    parts.end("submitted")
    parts.begin()
    ids = await listed(client, count)
    parts.end("listed")
    assert len(ids) >= count, f"{len(ids)} of {count} jobs are listed"
    parts.begin()
    for start in range(0, len(ids), JOBS_A_QUESTION):
        await client.cancel(ids[start : start + JOBS_A_QUESTION])
    parts.end("cancelled")
    memory = {"points": points, "payload": PAYLOAD}
    print(json.dumps({"memory": memory, "parts": parts.parts, "seconds": parts.seconds}))


async def submit(client: Frames, count: int) -> None:
    """So many jobs, and wait until they are accepted."""
    answers = []
    for start in range(0, count, FRAME_JOBS):
        frame = [Submission(SPEC, bytes(PAYLOAD)) for _ in range(min(FRAME_JOBS, count - start))]
        await client.room()
        answers.append(client.in_flight(frame))
    await gatherResults(answers, consumeErrors=True)


async def listed(client: Frames, count: int) -> list[int]:
    """The ids of all of one's jobs; some pages of their summaries before that."""
    after = None
    for _ in range(PAGES):
        page = await client.query("jobs", limit=500, after=after, newest=False)
        if (after := page["next"]) is None:
            break
    ids: list[int] = []
    after = None
    while True:
        found = await client.query("select", what="all", limit=IDS, after=after)
        for first, number in found["ids"]:
            ids.extend(range(first, first + number))
        if (after := found["next"]) is None:
            return ids


def main(reactor: Any, address: str, told: str, count: str) -> Deferred[None]:
    return Deferred.fromCoroutine(measure(reactor, address, told, int(count)))


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
