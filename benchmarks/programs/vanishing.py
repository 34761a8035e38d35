"""Workers vanish: ``python -m ...programs.vanishing ADDRESS GAUGES WORKERS PID``.

The simulated workers of a process are given jobs that they begin and never end; then the process
is killed, and it is waited until the coordinator has given them up and the jobs are gone. Prints
``parts`` and ``seconds`` as ``million`` does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from ...protocol.jobs import JobSpec, Submission, pack_spec
from ...protocol.limits import FRAME_JOBS
from ..kit.fresh import Failed
from .frames import Frames
from .million import Parts

SPEC = pack_spec(
    JobSpec(kind="import", target="time:sleep", python="9.9", max_losses=0, orphans="cancel")
)
"""Only simulated workers have that Python; who loses such a job ends it."""
A_WORKER = 2
SECONDS = 60.0


async def measure(reactor: Any, address: str, told: str, workers: int, pid: int) -> None:
    client, parts = await Frames.open(reactor, address), Parts(told)
    jobs = workers * A_WORKER
    for start in range(0, jobs, FRAME_JOBS):
        count = min(FRAME_JOBS, jobs - start)
        await client.submit([Submission(SPEC, bytes(8)) for _ in range(count)])
    await until(reactor, client, jobs)
    parts.begin()
    os.kill(pid, signal.SIGKILL)
    await until(reactor, client, 0)
    parts.end(f"{workers} workers vanish")
    print(json.dumps({"parts": parts.parts, "seconds": parts.seconds}))


async def until(reactor: Any, client: Frames, running: int) -> None:
    """Wait until so many of the jobs run."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        page = await client.query("jobs", limit=500, state="running", name=None)
        own = [job for job in page["jobs"] if job["target"] == "time:sleep"]
        if len(own) == running:
            return
        await task.deferLater(reactor, 0.2)
    raise Failed(f"{len(own)} jobs run, and not {running}")


def main(reactor: Any, address: str, told: str, workers: str, pid: str) -> Deferred[None]:
    measuring = measure(reactor, address, told, int(workers), int(pid))
    return Deferred.fromCoroutine(measuring)


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
