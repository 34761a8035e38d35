"""Workers that leave, and workers that were stopped for a while: no loss, nothing twice."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_twisted


def slow_before(folder: str, item: str, times: int, seconds: float = 300.0) -> int:
    """Takes long, but for the executions after so many; how many there were before."""
    path = Path(folder) / item
    before = path.read_text().count("\n") if path.exists() else 0
    with path.open("a") as file:
        file.write(f"{os.getppid()}\n")
    if before < times:
        time.sleep(seconds)
    return before


def began(notes: Path, item: str) -> list[int]:
    """The agents that have begun it."""
    path = notes / item
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


@pytest_twisted.ensureDeferred
async def test_being_drained_again_and_again_costs_a_job_nothing(
    cluster: Any, notes: Path, until: Any
) -> None:
    await cluster.start()
    worker = await cluster.worker("w0")
    times = 4  # one more than it may be lost
    job = cluster.pool().submit(slow_before, str(notes), "job", times)
    for number in range(times):
        await until(lambda number=number: len(began(notes, "job")) == number + 1)
        following = await cluster.worker(f"w{number + 1}")
        since = time.monotonic()
        await worker.end(signal.SIGTERM)
        assert time.monotonic() - since < 15
        worker = following
    assert await job == times


@pytest_twisted.ensureDeferred
async def test_a_worker_that_was_stopped_drops_what_it_lost(
    cluster: Any, notes: Path, until: Any
) -> None:
    await cluster.start(lease=1.0)
    stopped = await cluster.worker("stopped", slots=2)
    pool = cluster.pool()
    short = pool.submit(slow_before, str(notes), "short", 1, 2.0)
    long = pool.submit(slow_before, str(notes), "long", 1)
    await until(lambda: began(notes, "short") and began(notes, "long"))
    children = [child.pid for child in stopped.children()]
    stopped.send(signal.SIGSTOP)
    other = await cluster.worker("other", slots=2)
    # it is asked whether it lives, then its lease ends, then its jobs run elsewhere
    assert [await short, await long] == [1, 1]
    assert began(notes, "short") == began(notes, "long") == [stopped.pid, other.pid]
    assert sum(map(alive, children)) == len(children)
    stopped.send(signal.SIGCONT)
    await until(lambda: sum(map(alive, children)) < len(children))
    await until(lambda: "lost" in stopped.log() and stopped.log().count("joined") > 1)
    agents = await pool.map(where, [0.05] * 20)
    assert {stopped.pid, other.pid} == set(agents)
    assert [await short, await long] == [1, 1]


def where(seconds: float) -> int:
    """The agent that runs this job."""
    time.sleep(seconds)
    return os.getppid()
