"""Workers in other processes: jobs spread, and what befalls workers costs no result."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_twisted
from ampacity import CoordinatorLost


def where(seconds: float) -> int:
    """The agent that runs this job."""
    time.sleep(seconds)
    return os.getppid()


def note(folder: str, item: int, seconds: float = 0.0) -> int:
    """Leave a line for each execution: who began it, and who ended it."""
    path = Path(folder) / f"{item}"
    with path.open("a") as file:
        file.write(f"begun {os.getpid()}\n")
    time.sleep(seconds)
    with path.open("a") as file:
        file.write(f"ended {os.getpid()}\n")
    return item


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def lines(notes: Path) -> list[str]:
    return [line for path in notes.iterdir() for line in path.read_text().splitlines()]


@pytest_twisted.ensureDeferred
async def test_jobs_spread_over_the_workers(cluster: Any) -> None:
    await cluster.start()
    await cluster.worker("one")
    await cluster.worker("two")
    agents = await cluster.pool().map(where, [0.05] * 20)
    assert len(set(agents)) == 2
    assert all(5 <= agents.count(agent) <= 15 for agent in set(agents))


@pytest_twisted.ensureDeferred
async def test_a_killed_worker_costs_no_result(cluster: Any, notes: Path, until: Any) -> None:
    await cluster.start(lease=1.0)
    first = await cluster.worker("one")
    await cluster.worker("two")
    children = first.children()
    assert children
    pool = cluster.pool()
    group = pool.map(note, [str(notes)] * 40, range(40), [0.1] * 40)
    delivered = []
    async for item in group.as_completed():
        delivered.append(item)
        if len(delivered) == 10:
            await first.end(signal.SIGKILL)
    assert sorted(item.value if hasattr(item, "value") else item for item in delivered) == list(
        range(40)
    )
    begun = sum(line.startswith("begun") for line in lines(notes))
    assert 40 <= begun <= 42  # what ran at the kill, and no more
    await until(lambda: not any(child.is_running() for child in children))


def slower_at_first(folder: str, seconds: float) -> str:
    """Takes so long where it runs for the first time, and no time after that."""
    path = Path(folder) / f"{seconds}"
    if path.exists():
        return "again"
    path.write_text(f"begun {os.getpid()}\n")
    time.sleep(seconds)
    return "first"


@pytest_twisted.ensureDeferred
async def test_what_a_worker_reports_after_its_lease_is_refused(
    cluster: Any, notes: Path, until: Any
) -> None:
    await cluster.start(lease=0.5, silence=4.5)
    stopped = await cluster.worker("one", slots=2)
    pool = cluster.pool()
    # the child of the one ends while its agent is stopped, that of the other never does
    jobs = [pool.submit(slower_at_first, str(notes), seconds) for seconds in (3.0, 300.0)]
    await until(lambda: len(lines(notes)) == 2)
    children = [int(line.split()[1]) for line in lines(notes)]
    stopped.send(signal.SIGSTOP)
    await cluster.worker("two", slots=2)
    # a stopped process is silent: the coordinator gives it up after the ping's deadline
    assert [await job for job in jobs] == ["again", "again"]
    stopped.send(signal.SIGCONT)
    await until(lambda: "joined" in stopped.log().partition("is lost")[2])
    await until(lambda: sum(psutil.pid_exists(child) for child in children) == 1)
    found = [await pool.job(job.id) for job in jobs]
    assert found == ["again", "again"]
    assert await pool.map(note, [str(notes)] * 20, range(20)) == list(range(20))


@pytest_twisted.ensureDeferred
async def test_a_worker_serves_a_coordinator_with_another_store(
    cluster: Any, notes: Path, until: Any
) -> None:
    await cluster.start()
    worker = await cluster.worker("one")
    port = cluster.lines["worker"].partition("#")[0].rpartition(":")[2]
    lost = cluster.pool().submit(note, str(notes), 1, 60.0)
    await until(lambda: lines(notes))
    (child,) = [int(line.split()[1]) for line in lines(notes)]
    await cluster.coordinator.end(signal.SIGKILL)
    await cluster.start(f"tcp:127.0.0.1:{port}")
    with pytest.raises(CoordinatorLost):
        await lost
    await until(lambda: "another store" in worker.log())
    await until(lambda: not psutil.pid_exists(child))
    assert await cluster.pool().submit(note, str(notes), 2) == 2
    assert not worker.over


@pytest_twisted.ensureDeferred
async def test_a_worker_starts_again_without_a_token(cluster: Any) -> None:
    await cluster.start()
    worker = await cluster.worker("one")
    await worker.end()
    (kept,) = (cluster.folder / "one" / "state" / "joined").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    address = cluster.lines["worker"].partition("#")[0]
    await cluster.worker("one", line=address)
    assert await cluster.pool().submit(sum, [1, 2]) == 3


@pytest_twisted.ensureDeferred
async def test_a_worker_that_leaves_gives_back_and_finishes(
    cluster: Any, notes: Path, until: Any
) -> None:
    await cluster.start()
    leaving = await cluster.worker("one", slots=2)
    pool = cluster.pool()
    group = pool.map(note, [str(notes)] * 10, range(10), [1.0] * 10)
    await until(lambda: len(lines(notes)) == 2)
    await cluster.worker("two", slots=2)
    children = leaving.children()
    await leaving.end(signal.SIGTERM)
    assert not any(child.is_running() for child in children)
    assert await group == list(range(10))
    assert sum(line.startswith("begun") for line in lines(notes)) == 10  # each once
