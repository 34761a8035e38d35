"""Reports whose results have to be stored first, and a coordinator that has no room for these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ampacity.protocol.errors import Malformed, StorageFull
from ampacity.protocol.ids import Attempt, JobId
from ampacity.protocol.jobs import BlobRef
from ampacity.protocol.outcomes import Ending, Report
from ampacity.protocol.ports import Holding
from ampacity.workers.accounts import Accounts
from ampacity.workers.resultfiles import Results
from ampacity.workers.waiting import Durations, Waiting
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

REF = BlobRef(b"r" * 32, 4)


class Coordinator:
    """``ports.WorkerEvents``, as far as it goes; ``answer`` is what comes of storing."""

    def __init__(self) -> None:
        self.stores = 0
        self.reports: list[Report] = []
        self.given_back: list[Holding] = []
        self.answer: Any = lambda: fail(StorageFull("the disk is full"))

    def store(self, ref: BlobRef, path: Path) -> Deferred[None]:
        self.stores += 1
        return self.answer()  # type: ignore[no-any-return]

    def finished(self, reports: Any) -> Deferred[None]:
        self.reports += reports
        return succeed(None)

    def returned(self, attempts: Any) -> None:
        self.given_back += attempts


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


@pytest.fixture
def accounts(clock: Clock, coordinator: Coordinator, tmp_path: Path) -> Accounts:
    accounts = Accounts(clock, Waiting(Durations()), Results(tmp_path))
    accounts.bind(coordinator)  # type: ignore[arg-type]  # it prints nothing
    return accounts


def add(accounts: Accounts, job: int, folder: Path) -> Path:
    path = folder / f"result-{job}"
    path.write_bytes(b"long")
    report = Report(JobId(job), Attempt(1, 1), Ending.SUCCEEDED, 1.0, 1.0, b"", (REF,))
    accounts._reporting.add(report, [(REF, path)])
    return path


def run(clock: Clock, seconds: int) -> None:
    clock.pump([0.5] * (2 * seconds))


def test_a_result_for_which_there_is_no_room_waits_for_it(
    accounts: Accounts, coordinator: Coordinator, clock: Clock, tmp_path: Path
) -> None:
    path = add(accounts, 1, tmp_path)
    run(clock, 60)
    assert 3 < coordinator.stores < 60
    assert coordinator.reports == []
    assert accounts.holdings() == [Holding(JobId(1), Attempt(1, 1))]
    assert path.exists()
    coordinator.answer = lambda: succeed(None)
    run(clock, 16)
    assert [report.ending for report in coordinator.reports] == [Ending.SUCCEEDED]
    assert accounts.holdings() == []
    assert clock.getDelayedCalls() == []


def test_another_error_fails_the_job(
    accounts: Accounts, coordinator: Coordinator, clock: Clock, tmp_path: Path
) -> None:
    coordinator.answer = lambda: fail(Malformed("other bytes"))
    path = add(accounts, 1, tmp_path)
    run(clock, 1)
    assert [report.ending for report in coordinator.reports] == [Ending.FAILED]
    assert not path.exists()


@pytest.mark.parametrize("answer", [lambda: fail(StorageFull()), Deferred])
def test_what_nobody_takes_in_the_end_is_given_back(
    accounts: Accounts, coordinator: Coordinator, clock: Clock, tmp_path: Path, answer: Any
) -> None:
    coordinator.answer = answer
    path = add(accounts, 1, tmp_path)
    closed: list[object] = []
    Deferred.fromCoroutine(accounts.close(10.0)).addBoth(closed.append)
    run(clock, 9)
    assert closed == []
    run(clock, 2)
    assert closed == [None]
    assert coordinator.given_back == [Holding(JobId(1), Attempt(1, 1))]
    assert coordinator.reports == []
    assert not path.exists()
    assert clock.getDelayedCalls() == []


def test_a_result_that_is_not_wanted_any_more_is_removed(
    accounts: Accounts, coordinator: Coordinator, clock: Clock, tmp_path: Path
) -> None:
    paths = [add(accounts, job, tmp_path) for job in (1, 2)]
    accounts.unwanted([Holding(JobId(1), Attempt(1, 1))])
    assert [path.exists() for path in paths] == [False, True]
    coordinator.answer = lambda: succeed(None)
    run(clock, 16)
    assert [report.job for report in coordinator.reports] == [2]


def reports(*jobs: int) -> list[Report]:
    return [Report(JobId(job), Attempt(1, 1), Ending.SUCCEEDED, 1.0, 1.0, b"") for job in jobs]


def told(coordinator: Coordinator) -> list[int]:
    told, coordinator.reports = coordinator.reports, []
    return [report.job for report in told]


def test_reports_that_may_wait_go_together(
    accounts: Accounts, coordinator: Coordinator, clock: Clock
) -> None:
    reporting = accounts._reporting
    reporting.tell(reports(1), 0.003)
    assert told(coordinator) == [1]
    reporting.tell(reports(2), 0.003)
    clock.advance(0.002)
    reporting.tell(reports(3), 0.003)
    assert told(coordinator) == []
    assert [holding.job for holding in accounts.holdings()] == [2, 3]
    clock.advance(0.001)
    assert told(coordinator) == [2, 3]
    clock.advance(0.003)
    reporting.tell(reports(4), 0.003)
    assert told(coordinator) == [4]
    assert clock.getDelayedCalls() == []


def test_they_go_with_what_does_not_wait(
    accounts: Accounts, coordinator: Coordinator, clock: Clock
) -> None:
    reporting = accounts._reporting
    reporting.tell(reports(1))
    reporting.tell(reports(2), 0.003)
    reporting.tell(reports(3))
    assert told(coordinator) == [1, 2, 3]
    reporting.tell(reports(4), 0.003)
    reporting.add(reports(5)[0])
    assert told(coordinator) == []
    clock.advance(0)
    assert told(coordinator) == [4, 5]
    reporting.tell(reports(*range(64)), 0.003)
    assert len(told(coordinator)) == 64
    reporting.add(reports(6)[0])
    reporting.tell(reports(7), 0.003)
    clock.advance(0)
    assert told(coordinator) == [6, 7]
    assert clock.getDelayedCalls() == []


def test_a_clock_that_is_set_back_holds_nothing_up(
    accounts: Accounts, coordinator: Coordinator, clock: Clock
) -> None:
    reporting = accounts._reporting
    clock.advance(100)
    reporting.tell(reports(1))
    clock.rightNow -= 50
    reporting.tell(reports(2), 0.003)
    assert told(coordinator) == [1, 2]
