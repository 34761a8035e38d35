"""What scheduler and driver cost a job, with nothing around them: no wire, no child, no disk.

Jobs go from ``submit`` to the acknowledged delivery, in frames, with workers that end everything
at once: the CPU of a job by the number of workers, and the bytes of Python's own heap that a
queued job takes.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.task import Clock

from ..coordinator.driver import Driver
from ..protocol.blobs import BlobFolder
from ..protocol.ids import ClientId, JobId, SessionId
from ..protocol.jobs import Assignment, JobSpec, Submission, pack_spec
from ..protocol.limits import FRAME_JOBS
from ..protocol.outcomes import Delivery, Ending, JobLog, Report
from ..protocol.ports import Beginning, Ended, Holding, WorkerEvents, WorkerInfo
from .kit.measured import Measured
from .kit.plan import Plan
from .kit.program import main

PAYLOAD = 100
JOBS = 30_000
WORKERS = (1, 10, 100, 1000)
ROUNDS = 3


class Client:
    """Takes outcomes and counts them."""

    def __init__(self) -> None:
        self.outcomes = 0

    def delivered(self, outcomes: Sequence[Delivery]) -> Deferred[None]:
        self.outcomes += len(outcomes)
        return succeed(None)

    def output(self, job: JobId, stream: int, offset: int, data: bytes) -> Deferred[bool]:
        return succeed(False)


class Worker:
    """Ends whatever it gets in the next turn, in frames of 64."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.events: WorkerEvents | None = None

    def assign(self, assignments: Sequence[Assignment]) -> None:
        self._clock.callLater(0, self._work, assignments)

    def _work(self, assignments: Sequence[Assignment]) -> None:
        assert self.events is not None
        for start in range(0, len(assignments), 64):
            frame = assignments[start : start + 64]
            self.events.begun([Beginning(a.job, a.attempt, 0.0) for a in frame])
            self.events.finished(
                [Report(a.job, a.attempt, Ending.SUCCEEDED, 0.0, 1e-5, b"result") for a in frame]
            )

    def end(self, attempts: Sequence[Ended]) -> None: ...

    def retract(self, attempts: Sequence[Holding]) -> None: ...

    def attach(self, job: JobId, follow: bool) -> Deferred[JobLog]:
        return succeed(JobLog())

    def drain(self) -> None:
        """Nobody asks for it here."""

    def reload(self) -> None: ...
    def given_up(self) -> None: ...


def make(clock: Clock) -> tuple[Driver, Client, Any]:
    driver = Driver(clock, BlobFolder(Path(tempfile.gettempdir()), execute))
    client = Client()
    session, _ = driver.open_session(ClientId("local"), SessionId(bytes(16)), client)
    return driver, client, session


def submit(session: Any, jobs: int) -> None:
    spec = pack_spec(JobSpec(kind="import", target="module:function"))
    for sequence in range(1, jobs // FRAME_JOBS + 1):
        frame = [Submission(spec, bytes(PAYLOAD)) for _ in range(FRAME_JOBS)]
        session.submit(sequence, frame, None)


def cost(jobs: int, workers: int) -> float:
    """Seconds of CPU a job."""
    clock = Clock()
    driver, client, session = make(clock)
    for number in range(workers):
        worker = Worker(clock)
        info = WorkerInfo(
            name="w",
            incarnation=number.to_bytes(16, "big"),
            slots=4,
            python="3.11",
            host="",
            software="",
        )
        _, worker.events, _ = driver.join(info, [], worker)
    began = time.process_time()
    submit(session, jobs)
    while client.outcomes < jobs // FRAME_JOBS * FRAME_JOBS:
        clock.advance(0.0001)
    driver.stop()
    return (time.process_time() - began) / client.outcomes


def memory(jobs: int) -> float:
    """Bytes a queued job, besides its payload."""
    clock = Clock()
    _driver, _, session = make(clock)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    submit(session, jobs)
    clock.advance(0.001)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / (jobs // FRAME_JOBS * FRAME_JOBS) - sys.getsizeof(bytes(PAYLOAD))


def measure(plan: Plan) -> Measured:
    jobs = plan.few(JOBS, 5000)
    measured = Measured("core", "Scheduler and driver by themselves")
    for workers in WORKERS:
        way = f"{workers:,} worker{'s' if workers > 1 else ''}"
        found = []
        for _ in range(min(plan.times, ROUNDS)):
            found.append(cost(jobs, workers))
            gc.collect()
        measured.add("CPU a job", way, "s", found)
    measured.add("heap a queued job", "besides its payload", "B", [memory(jobs)])
    return measured


if __name__ == "__main__":
    main(measure, __doc__)
