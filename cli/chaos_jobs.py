"""The jobs of a chaos run, as children execute them.

Each notes its beginning and its end in a file, by single appending writes: what really ran is
known whatever became of the reports.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from .chaos_history import Ended, Event, Started, line_of
from .chaos_plan import TIMES_FLAKY

NOTES = "executions"
FLAKY = "flaky-"
"""The files' names, in the folder that each job is given."""


class Computed(NamedTuple):
    """What a job returns: its index, its execution, and its argument turned round."""

    job: int
    run: str
    data: bytes


class PlannedFailure(Exception):
    """A job fails as it shall."""

    def __init__(self, job: int, run: str) -> None:
        super().__init__(job, run)
        self.job = job
        self.run = run

    def __str__(self) -> str:
        return f"job {self.job} fails as it shall, execution {self.run}"


def work(folder: str, job: int, kind: str, seconds: float, data: bytes) -> Computed:
    """Execute one job of the plan.

    Raises:
        PlannedFailure: the kind is one that fails.
    """
    run = os.urandom(8).hex()
    number = int(os.environ["AMPACITY_JOB_ID"])
    attempt = os.environ["AMPACITY_ATTEMPT"]
    _note(folder, Started(_now(), job, number, attempt, run, os.getpid(), os.getppid()))
    _deeds(folder, job, kind, seconds, run)
    _note(folder, Ended(_now(), job, run, "value"))
    return Computed(job, run, data[::-1])


def _deeds(folder: str, job: int, kind: str, seconds: float, run: str) -> None:
    if kind in ("spin", "item"):
        _spin(seconds)
    elif kind in ("endless", "cancelled"):
        while True:
            time.sleep(0.05)
    elif kind == "crashes":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "fails" or (kind == "flaky" and _fails_again(folder, job)):
        _note(folder, Ended(_now(), job, run, "raised"))
        raise PlannedFailure(job, run)


def _spin(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def _fails_again(folder: str, job: int) -> bool:
    """Whether this is one of the first executions, by a byte that each one leaves."""
    path = Path(folder, f"{FLAKY}{job}")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, b".")
        return os.fstat(descriptor).st_size <= TIMES_FLAKY
    finally:
        os.close(descriptor)


def _now() -> float:
    return time.monotonic()


def _note(folder: str, event: Event) -> None:
    append(Path(folder, NOTES), event)


def append(path: Path, event: Event) -> None:
    """Add one line to a file that others add to as well."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line_of(event))
    finally:
        os.close(descriptor)
