"""Reports that wait: in memory, in files, and their order."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from ampacity.protocol.errors import Damaged
from ampacity.protocol.ids import Attempt, JobId
from ampacity.protocol.jobs import BlobRef
from ampacity.protocol.outcomes import Ending, Report, pack_reports
from ampacity.protocol.ports import Holding
from ampacity.workers.backlog import Backlog, Kept, Recorded
from twisted.internet.defer import Deferred, maybeDeferred

MEMORY = 3000


class Threads:
    """Work that is done when the test says so, in its order."""

    def __init__(self) -> None:
        self.work: list[tuple[Deferred[Any], Any, tuple[Any, ...]]] = []
        self.error: Exception | None = None

    def __call__(self, function: Any, *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.work.append((done, function, arguments))
        return done

    def run(self) -> None:
        while self.work:
            done, function, arguments = self.work.pop(0)
            if self.error is not None:
                done.errback(self.error)
            else:
                maybeDeferred(function, *arguments).chainDeferred(done)


@pytest.fixture
def threads() -> Threads:
    return Threads()


@pytest.fixture
def backlog(tmp_path: Path, threads: Threads) -> Backlog:
    return Backlog(tmp_path / "reports", threads, memory_bytes=MEMORY)


def report(job: int, size: int = 920) -> Report:
    """Of a thousand bytes, all of its fields set."""
    body = Random(job).randbytes(size)
    blobs = (BlobRef(b"d" * 32, 7),) if job % 2 else ()
    return Report(
        JobId(job),
        Attempt(3, job),
        Ending.FAILED,
        1.7e9 + job / 7,
        job / 3,
        body,
        blobs,
        b"",
        False,
    )


def holding(job: int) -> Holding:
    return Holding(JobId(job), Attempt(3, job))


def add(backlog: Backlog, *jobs: int) -> list[Recorded]:
    recorded = [Recorded(1) for _ in jobs]
    for job, one in zip(jobs, recorded, strict=True):
        backlog.add((report(job), one))
    return recorded


def take_all(backlog: Backlog, threads: Threads) -> list[Report]:
    taken: list[Report] = []
    while backlog:
        some = backlog.take(2, 10_000)
        if not some:
            assert threads.work, "it waits for nothing"
            threads.run()
        taken += [report for report, _ in some]
    return taken


def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "reports"
    return sorted(folder.iterdir()) if folder.exists() else []


def test_a_few_stay_in_memory(backlog: Backlog, threads: Threads) -> None:
    recorded = add(backlog, 1, 2, 3)
    assert threads.work == []
    assert (backlog.ready, backlog.spooled) == (3, 0)
    assert [r.job for r in take_all(backlog, threads)] == [1, 2, 3]
    assert not any(one.done.called for one in recorded)


@pytest.mark.parametrize("seed", range(20))
def test_order_and_bytes_survive_the_files(
    backlog: Backlog, threads: Threads, tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    next_job = 1
    taken: list[Kept] = []
    flying: list[Kept] = []
    while next_job < 200 or backlog or flying:
        step = random.random()
        if step < 0.5 and next_job < 200:
            add(backlog, next_job)
            next_job += 1
        elif step < 0.7:
            threads.run()
        elif step < 0.9:
            flying += backlog.take(random.randrange(1, 5), 2500)
        elif step < 0.95 and flying:
            backlog.put_back(flying)
            flying = []
        elif flying:
            taken += flying
            flying = []
        known = {h.job for h in backlog.holdings()} | {k[0].job for k in flying}
        assert known == set(range(len(taken) + 1, next_job))
    threads.run()
    assert pack_reports([r for r, _ in taken]) == pack_reports([report(n) for n in range(1, 200)])
    assert backlog.spooled == 0
    assert files(tmp_path) == []


def test_who_handed_over_is_told_once_a_report_is_in_a_file(
    backlog: Backlog, threads: Threads, tmp_path: Path
) -> None:
    recorded = add(backlog, *range(1, 8))
    assert not any(one.done.called for one in recorded)
    threads.run()
    assert [one.done.called for one in recorded] == [False] * 3 + [True] * 3 + [False]
    assert backlog.spooled == files(tmp_path)[0].stat().st_size
    assert len(backlog) == 7


def test_dropped_ones_do_not_come_back(backlog: Backlog, threads: Threads) -> None:
    add(backlog, *range(1, 12))
    threads.run()
    backlog.drop([holding(job) for job in (2, 5, 6, 10, 11)])
    wanted = [1, 3, 4, 7, 8, 9]
    assert [h.job for h in backlog.holdings()] == wanted
    assert [r.job for r in take_all(backlog, threads)] == wanted


def test_nothing_is_left_of_an_old_store(
    backlog: Backlog, threads: Threads, tmp_path: Path
) -> None:
    recorded = add(backlog, *range(1, 8))
    threads.run()
    recorded += add(backlog, *range(8, 12))
    backlog.forget()
    threads.run()
    assert not backlog
    assert backlog.holdings() == []
    assert files(tmp_path) == []
    assert all(one.done.called for one in recorded)
    add(backlog, 20)
    assert [r.job for r in take_all(backlog, threads)] == [20]


def test_a_full_disk_keeps_them_in_memory(backlog: Backlog, threads: Threads) -> None:
    threads.error = OSError(28, "No space left on device")
    recorded = add(backlog, *range(1, 12))
    threads.run()
    failed = [backlog.failed]
    assert backlog.spooled == 0
    threads.error = None
    assert [r.job for r in take_all(backlog, threads)] == list(range(1, 12))
    assert [*failed, backlog.failed] == [True, False]
    assert not any(one.done.called for one in recorded)


def test_a_damaged_file_is_found_out(
    backlog: Backlog, threads: Threads, tmp_path: Path, logged_errors: Any
) -> None:
    add(backlog, *range(1, 8))
    threads.run()
    (file,) = files(tmp_path)
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes(data)
    assert [r.job for r in take_all(backlog, threads)] == [1, 2, 3, 7]
    assert len(logged_errors(Damaged)) == 1


def test_one_report_above_the_bound_is_taken(backlog: Backlog, threads: Threads) -> None:
    kept: Kept = (report(1, size=2 * MEMORY), Recorded(1))
    backlog.add(kept)
    assert backlog.take(9, 9) == [kept]
