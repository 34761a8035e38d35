"""Queues jobs in a durable coordinator without workers, or opens what was queued; prints facts.

``python million_program.py FOLDER JOBS``: a program of its own, so that its memory is its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from ampacity.client.local import LocalCluster
from ampacity.loopwatch import LagMeter
from ampacity.protocol.ids import LOCAL_CLIENT, SessionId
from ampacity.protocol.jobs import JobSpec, Submission, pack_spec
from ampacity.protocol.limits import FRAME_JOBS, FRAMES_IN_FLIGHT
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import react

SPEC = pack_spec(JobSpec(kind="import", target="math:sqrt"))


class Nobody:
    """A session's port: takes everything."""

    def delivered(self, outcomes: Any) -> Deferred[None]:
        return succeed(None)

    def output(self, *_: Any) -> Deferred[bool]:
        return succeed(True)


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


async def main(reactor: Any, folder: str, jobs: str) -> None:
    lag = LagMeter(reactor)
    cluster = LocalCluster(reactor, slots=0, store=Path(folder), lag=lag)
    began = time.monotonic()
    await cluster.open()
    facts: dict[str, Any] = {"open": time.monotonic() - began}
    session, sequence = cluster.driver.open_session(
        LOCAL_CLIENT, SessionId(os.urandom(16)), Nobody()
    )
    lag.start()
    count, few = 0, 0
    while count < int(jobs):
        frames = []
        for _ in range(FRAMES_IN_FLIGHT):
            frame = [
                Submission(SPEC, b"twenty bytes of work", None, count + n)
                for n in range(FRAME_JOBS)
            ]
            frames.append(session.submit(sequence, frame, 1))
            sequence, count = sequence + 1, count + FRAME_JOBS
        await gatherResults(frames)
        few = few or resident()
    facts["few"], facts["many"] = few, resident()
    facts["lag"] = lag.summary()
    lag.stop()
    began = time.monotonic()
    facts["page"] = len((await session.query("jobs", {"limit": 500, "newest": True}))["jobs"])
    facts["listed"] = time.monotonic() - began
    status = await session.query("status", {})
    facts["queued"] = status["queued"]
    await cluster.stop()
    print(json.dumps(facts))


react(main, sys.argv[1:])
