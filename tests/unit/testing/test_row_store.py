"""The store that the virtual cluster runs on: late, full, broken, crashed."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from ampacity.coordinator import effects
from ampacity.coordinator.kept import Backlog, ByIds, ByKeys, Found, Listing, Oldest, Orphans
from ampacity.coordinator.records import ClientRecord, CostRecord, JobRecord, SpecRecord
from ampacity.coordinator.store import StoreBroken
from ampacity.coordinator.transitions import QUEUED, SENT, SUCCEEDED
from ampacity.protocol.errors import StorageFull
from ampacity.protocol.ids import ClientId, JobId, SessionId
from ampacity.protocol.jobs import JobSpec, pack_spec
from ampacity.testing.row_store import Disk, RowStore
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

SESSION = SessionId(b"s" * 16)
CLIENT = ClientRecord(ClientId("local"))
ORPHANS = JobSpec(kind="import", target="m:f", orphans="cancel", deadline=30.0)
SPEC = SpecRecord(pack_spec(ORPHANS), ORPHANS, CostRecord())


def job(number: int) -> JobRecord:
    return JobRecord(
        JobId(number), CLIENT, SESSION, SPEC, b"payload", f"k{number}", None, None, 100.0 + number
    )


def fired(deferred: Deferred[Any] | None) -> list[Any]:
    results: list[Any] = []
    assert deferred is not None
    deferred.addBoth(results.append)
    return results


def end(record: JobRecord) -> effects.JobsEnded:
    record.state, record.ended, record.kept = SUCCEEDED, 200.0 - record.id, 9
    return effects.JobsEnded([effects.Outcome(record, b"body", b"")])


@pytest.fixture
def disk() -> Disk:
    return Disk(Random(1), seconds=(0.01, 0.02))


def test_a_commit_is_late_and_reads_the_records_at_once(disk: Disk) -> None:
    clock, record = Clock(), job(1)
    store = RowStore(disk, clock)
    done = fired(store.commit([effects.JobsAdded([record])]))
    record.state = SENT
    read = fired(store.read(ByIds([JobId(1)])))  # type: ignore[arg-type]  # it is late
    assert not done
    clock.pump([0.02, 0.02])
    assert done == [None]
    assert read[0].rows[0].state == QUEUED, "reads come after the commits before them"


def test_what_is_not_committed_does_not_survive(disk: Disk) -> None:
    store = RowStore(disk, Clock())
    store.commit([effects.JobsAdded([job(1)])])
    store.commit([effects.JobsAdded([job(2)])])
    store.crash()
    again = RowStore(disk, Clock())
    assert again.term == 2
    assert again.remembered.next_job <= 2


def test_a_full_disk_keeps_nothing_and_can_be_asked_again() -> None:
    disk = Disk()
    store, added = RowStore(disk), [effects.JobsAdded([job(1)])]
    disk.full = True
    assert fired(store.commit(added))[0].check(StorageFull)
    disk.full = False
    assert store.commit(added) is None
    assert disk.rows.next_job == 2


def test_a_broken_disk_stays_broken_until_it_is_opened_again() -> None:
    disk = Disk(broken=True)
    store = RowStore(disk)
    assert fired(store.commit([effects.JobsAdded([job(1)])]))[0].check(StoreBroken)
    assert fired(store.commit([]))[0].check(StoreBroken)
    assert RowStore(disk).commit([effects.JobsAdded([job(7)])]) is None


def test_what_is_found() -> None:
    disk = Disk()
    store, jobs = RowStore(disk), [job(number) for number in (1, 2, 3, 5)]
    store.commit([effects.JobsAdded(jobs), end(jobs[0]), end(jobs[1])])
    store.commit([effects.JobsTaken([JobId(1)])])

    def ids(question: Any) -> list[int]:
        found = store.read(question)
        assert isinstance(found, Found)
        assert [row.id for row in found.rows] == found.ids
        return list(found.ids)

    assert ids(Oldest(taken=True, limit=9)) == [1]
    assert ids(Oldest(taken=False, limit=9)) == [2]
    assert ids(Backlog(SESSION, JobId(0), 9)) == [2]
    assert ids(Orphans(SESSION, JobId(3), 9)) == [5]
    assert ids(ByKeys(CLIENT.id, ["k2", "k9"])) == [2]
    remembered = RowStore(disk).remembered
    assert (remembered.taken, remembered.untaken) == ((1, 9), (1, 9))
    assert [run[:2] for run in remembered.queued] == [(3, 1), (5, 1)], "each has its own deadline"
    page = fired(store.page(Listing(CLIENT.id, limit=2, newest=True)))[0]
    assert page == ([5, 3], 3)
