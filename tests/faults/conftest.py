"""Histories that are written by hand, and short chaos runs as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from ampacity.cli.chaos_check import WRONGS
from ampacity.cli.chaos_engine import durable
from ampacity.cli.chaos_ground import missing
from ampacity.cli.chaos_history import (
    Accepted,
    Cancelling,
    Delivered,
    Done,
    Ended,
    Event,
    Found,
    Invoked,
    Started,
)
from ampacity.cli.chaos_plan import MAX_LOSSES, TIMES_FLAKY, Task, right_value

AGENT = 500
KINDS = ("short", "fails", "endless", "cancelled", "crashes", "flaky", "item")


def plan_of(*kinds: str) -> list[Task]:
    return [Task(job, kind, 0, job / 10, 0.01, 0, True) for job, kind in enumerate(kinds)]


@attrs.define
class Written:
    """A history that is written by hand, one job after the other."""

    plan: list[Task]
    events: list[Event] = attrs.field(factory=list)

    def runs_of(self, task: Task) -> int:
        return {"crashes": MAX_LOSSES, "flaky": TIMES_FLAKY + 1, "cancelled": 0}.get(task.kind, 1)

    def run(self, job: int, attempt: int, at: float, ends: bool = True, pid: int = 0) -> str:
        """One execution, of a tenth of a second."""
        name = f"{job}.{attempt}.{at}"
        worker = pid or 600 + job
        self.events.append(Started(at, job, job + 1, f"1.{attempt}", name, worker, AGENT))
        if ends:
            self.events.append(Ended(at + 0.1, job, name, "value"))
        return name

    def submit(self, job: int, client: str = "0.0") -> None:
        at = job + 0.1
        self.events += [Invoked(at, client, job), Accepted(at, client, job, job + 1)]

    def whole(self, task: Task) -> None:
        """A job from its beginning to its end, as it should be."""
        job, at, run = task.job, task.job + 0.2, None
        self.submit(job)
        if task.kind == "cancelled":
            self.events.append(Cancelling(at, "0.0", job))
        for number in range(1, self.runs_of(task) + 1):
            run = self.run(job, number, at + number, ends=task.kind != "crashes")
        self.end(task, run, self.runs_of(task))

    def end(self, task: Task, run: str | None, attempts: int, client: str = "0.0") -> None:
        (ending,) = task.endings
        value = right_value(task) if ending == "succeeded" else None
        named = run if ending in ("succeeded", "failed") else None
        losses = MAX_LOSSES if ending == "crashed" else 0
        job, at = task.job, task.job + 9.0
        self.events.append(Delivered(at, client, job, job + 1, ending, named, value))
        self.events.append(Found(job + 1, job, ending, attempts, losses, named, value))

    def change(self, kind: type[Event], job: int, **fields: object) -> None:
        """Alter the one event of this kind and job."""
        (index,) = [
            index
            for index, event in enumerate(self.events)
            if isinstance(event, kind) and getattr(event, "job", None) == job
        ]
        self.events[index] = self.events[index]._replace(**fields)  # type: ignore[arg-type]

    def drop(self, kind: type[Event], job: int) -> None:
        """Take out what there is of this kind and job."""
        self.events = [
            event
            for event in self.events
            if not (isinstance(event, kind) and getattr(event, "job", None) == job)
        ]


@pytest.fixture
def write() -> Callable[..., Written]:
    """``write("short", "fails")``: these jobs, each of them as it should be."""

    def write(*kinds: str) -> Written:
        written = Written(plan_of(*kinds))
        for task in written.plan:
            written.whole(task)
        written.events.append(Done(99.0, "0.0"))
        return written

    return write


# -- short runs ------------------------------------------------------------------------------------

SEED = os.environ.get("CHAOS_SEED", "1")
LONGEST = 240.0
"""Seconds for one of them."""

Prove = Callable[..., dict[str, Any]]


@pytest.fixture
def prove(tmp_path: Path) -> Prove:
    """``prove("reset=2,slow", 8)``: run with these faults for 8 s; the account, which is right."""

    def prove(
        faults: str, seconds: float, jobs: int = 150, tracebacks: bool = False
    ) -> dict[str, Any]:
        names = {word.partition("=")[0] for word in faults.split(",")}
        reasons = [why for name in names if (why := missing(name, durable()))]
        if len(reasons) == len(names):
            pytest.skip("; ".join(reasons))
        words = ["chaos", "--json", "--seed", SEED, "--jobs", str(jobs), "--faults", faults]
        words += ["--seconds", str(seconds), "--keep", str(tmp_path / "kept")]
        done = subprocess.run(
            [sys.executable, "-m", "ampacity.cli.entry", *words],
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        assert done.stdout, done.stderr
        account: dict[str, Any] = json.loads(done.stdout)
        told = json.dumps(account, indent=1) + done.stderr
        assert account["wrong"] == dict.fromkeys(WRONGS, 0), told
        assert account["untidy"] == [], told
        assert tracebacks or not account["tracebacks"], told
        assert done.returncode == 0, told
        assert account["submitted"] == sum(account["endings"].values()), told
        assert account["submitted"] == jobs or "kill-client" in names, told
        assert set(account["faults"]) == names - set(account["skipped"]), told
        return account

    return prove
