"""Commits are entries of a daybook first, and come into the tables later."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity.coordinator import daybook as daybook_module
from ampacity.coordinator.effects import (
    AttemptsMade,
    GroupForgotten,
    GroupSaved,
    Hold,
    JobsAdded,
    JobsChanged,
    JobsEnded,
    JobsForgotten,
    JobsTaken,
    Release,
    SessionForgotten,
    SessionSaved,
    WorkerForgotten,
    WorkerSaved,
)
from ampacity.coordinator.kept import ByIds, Oldest
from ampacity.coordinator.store import StoreBroken
from ampacity.coordinator.transitions import QUEUED, SENT, SUCCEEDED
from ampacity.protocol.errors import StorageFull, StoreRefused
from ampacity.protocol.ids import Attempt, JobId
from ampacity.protocol.ports import Accepted


async def opened(folder: Any, **options: Any) -> Any:
    """A store that brings nothing into its tables by itself."""
    store = await folder.open(**options)
    store._thread.spare = None
    return store


async def rows(store: Any, sql: str) -> list[Any]:
    connection = store._opened.file.connection
    found: list[Any] = await store._in_thread(lambda: connection.execute(sql).fetchall())
    return found


async def post(store: Any) -> None:
    await store._in_thread(store._opened.writer.post)


def copy(folder: Any, to: Path) -> None:
    """As it would be found if the process ended now; a descriptor of ours would drop its locks."""
    subprocess.run(["/bin/cp", "-r", str(folder.path), str(to)], check=True)


JOBS = "SELECT id, state FROM jobs ORDER BY id"
ENTRIES = "SELECT number FROM daybook ORDER BY number"


@pytest_twisted.ensureDeferred
async def test_a_commit_is_an_entry(folder: Any, records: Any, end: Any) -> None:
    store = await opened(folder)
    jobs = [records.job(n) for n in (1, 2, 3)]
    await store.commit([JobsAdded(jobs)])
    await store.commit([JobsEnded([end(jobs[0])])])
    assert await rows(store, JOBS) == []
    assert await rows(store, ENTRIES) == [(1,), (2,)]
    await post(store)
    assert await rows(store, JOBS) == [(1, SUCCEEDED), (2, QUEUED), (3, QUEUED)]
    assert await rows(store, ENTRIES) == []
    await store.commit([JobsTaken([JobId(1)])])
    assert await rows(store, ENTRIES) == [(3,)]


@pytest_twisted.ensureDeferred
async def test_questions_see_all_that_was_committed(folder: Any, records: Any, end: Any) -> None:
    store = await opened(folder)
    jobs = [records.job(n) for n in (1, 2, 3)]
    await store.commit([JobsAdded(jobs)])
    assert [job.id for job in (await store.read(ByIds([JobId(2)]))).rows] == [2]
    await store.commit([JobsEnded([end(jobs[0]), end(jobs[1])])])
    assert await store.outcomes([JobId(3)]) == [None]
    (outcome,) = await store.outcomes([JobId(1)])
    assert outcome.body == b"body"
    await store.commit([JobsTaken([JobId(2)])])
    assert (await store.read(Oldest(True, 5))).ids == [2]
    await store.commit([JobsForgotten([JobId(2)])])
    assert [job.id for job in await store.jobs([JobId(n) for n in (1, 2, 3)])] == [1, 3]


@pytest_twisted.ensureDeferred
async def test_a_store_at_rest_brings_in_its_entries(folder: Any, records: Any) -> None:
    store = await folder.open()
    await store.commit([JobsAdded([records.job(n) for n in range(1, 2000)])])
    for _ in range(500):
        if not await rows(store, ENTRIES):
            break
        await folder.turn()
        await folder.turn()
    assert len(await rows(store, JOBS)) == 1999 or await rows(store, ENTRIES)
    await folder.close()
    assert len(folder.execute(JOBS)) == 1999


@pytest_twisted.ensureDeferred
async def test_many_entries_are_brought_in_while_others_come(
    folder: Any, records: Any, end: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(daybook_module, "HELD", 20)
    monkeypatch.setattr(daybook_module, "PORTION", 10)
    store = await opened(folder)
    jobs = [records.job(n) for n in range(1, 201)]
    for job in jobs:
        await store.commit([JobsAdded([job])])
        await store.commit([JobsEnded([end(job)])])
    assert 0 < len(await rows(store, ENTRIES)) <= 60
    assert set(await rows(store, "SELECT DISTINCT state FROM jobs")) == {(SUCCEEDED,)}
    await store.commit([JobsAdded([records.job(n) for n in range(201, 300)])])
    await store.commit([JobsAdded([records.job(n) for n in range(300, 302)])])
    store = await folder.again()
    assert store.remembered.counts[SUCCEEDED] == 200
    assert store.remembered.counts[QUEUED] == 101


@pytest_twisted.ensureDeferred
async def test_a_disk_that_fails_at_rest_is_told_at_the_next_commit(
    folder: Any, records: Any, monkeypatch: Any
) -> None:
    store = await folder.open()
    tried: list[int] = []

    def fails(*_: Any) -> None:
        tried.append(1)
        raise StoreBroken("the disk fails")

    monkeypatch.setattr(store._opened.writer, "post", fails)
    await store.commit([JobsAdded([records.job(1)])])
    while not tried:
        await folder.turn()
    with pytest.raises(StoreBroken, match="the disk fails"):
        await store.commit([JobsAdded([records.job(2)])])
    assert tried == [1]
    store = await folder.again()
    assert store.remembered.counts[QUEUED] == 1


# -- a process that ended --------------------------------------------------------------------------


@pytest.mark.parametrize("portions", range(5))
@pytest_twisted.ensureDeferred
async def test_a_store_that_was_not_closed_is_brought_up_to_date(
    folder: Any, records: Any, end: Any, tmp_path: Path, monkeypatch: Any, portions: int
) -> None:
    """Whatever is in the tables already, of later entries as well."""
    monkeypatch.setattr(daybook_module, "PORTION", 1)
    store = await opened(folder)
    jobs = [records.job(n, group=records.group(1), place=n) for n in range(1, 7)]
    worker, session, gone = records.worker(), records.session(), records.session(b"g" * 16)
    group = records.group(2)
    await store.commit([WorkerSaved(worker), GroupSaved(group), JobsAdded(jobs[:4])])
    for job in jobs[:3]:
        job.state, job.worker, job.attempt = SENT, worker, Attempt(1, 1)
    accepted = Accepted(ids=((5, 2),))
    await store.commit([AttemptsMade(worker, jobs[:3]), SessionSaved(session, 1, accepted)])
    await store.commit([JobsAdded(jobs[4:]), Hold([b"a" * 32, b"b" * 32])])
    await store.commit([JobsEnded([end(job) for job in jobs[:2]]), SessionSaved(gone, 1, accepted)])
    jobs[2].state = QUEUED
    await store.commit([JobsTaken([JobId(1)]), JobsChanged([jobs[2]]), Hold([b"a" * 32])])
    await store.commit([JobsForgotten([JobId(1)]), GroupForgotten(group), Release([b"b" * 32])])
    await store.commit([SessionForgotten(gone), WorkerForgotten(worker)])
    for _ in range(portions):
        await post(store)
    copy(folder, tmp_path / "copy")
    await folder.close()
    whole = folder.execute("SELECT digest, jobs FROM specs")
    folder.path = tmp_path / "copy"
    store = await folder.open()
    remembered = store.remembered
    assert (remembered.next_job, remembered.next_group) == (7, 3)
    assert remembered.counts[SUCCEEDED] == 1
    assert [run[:2] for run in remembered.queued] == [(3, 4)]
    assert remembered.live == []
    assert [session.id for session in remembered.sessions] == [b"h" * 16]
    assert remembered.workers == []
    assert remembered.blobs == {b"a" * 32: 2}
    assert [kept.id for kept in remembered.groups] == [1]  # made anew, from its jobs
    kept = await store.jobs([JobId(n) for n in range(1, 8)])
    assert [(job.id, job.damage) for job in kept] == [(n, "") for n in range(2, 7)]
    await folder.close()
    assert folder.execute("SELECT digest, jobs FROM specs") == whole


async def left(folder: Any, records: Any, tmp_path: Path) -> None:
    """A folder with three entries, the last of them for two jobs."""
    store = await opened(folder)
    await store.commit([JobsAdded([records.job(1)])])
    await store.commit([JobsAdded([records.job(2)])])
    await store.commit([JobsAdded([records.job(3), records.job(4)])])
    copy(folder, tmp_path / "copy")
    await folder.close()
    folder.path = tmp_path / "copy"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE daybook SET packed = x'00' || packed WHERE number = 2",
        "UPDATE daybook SET packed = NULLIF('text', 'x') WHERE number = 2",
        "UPDATE daybook SET seal = seal + 1 WHERE number = 3",
        "UPDATE daybook SET number = 7 WHERE number = 3",
        "DELETE FROM daybook WHERE number = 2",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_damaged_entry_is_refused(
    folder: Any, records: Any, tmp_path: Path, change: str
) -> None:
    await left(folder, records, tmp_path)
    folder.execute(change)
    with pytest.raises(StoreRefused, match=r"damaged \(in its daybook.*ampacity backup"):
        await folder.open()


@pytest_twisted.ensureDeferred
async def test_entries_without_a_first_record_are_refused(
    folder: Any, records: Any, tmp_path: Path
) -> None:
    await left(folder, records, tmp_path)
    folder.execute("DELETE FROM meta")
    with pytest.raises(StoreRefused, match="in its first record"):
        await folder.open()


@pytest_twisted.ensureDeferred
async def test_a_store_that_is_full_when_it_is_opened_is_refused_for_now(
    folder: Any, records: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    await left(folder, records, tmp_path)

    def full(*_: Any) -> None:
        raise StorageFull("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("ampacity.coordinator.writing.Writer._rest", full)
        with pytest.raises(StoreRefused, match="disk is full"):
            await folder.open()
    assert (await folder.open()).remembered.counts[QUEUED] == 4


@pytest_twisted.ensureDeferred
async def test_a_store_of_the_second_schema_is_taken_over(folder: Any, records: Any) -> None:
    store = await folder.open()
    await store.commit([JobsAdded([records.job(1)])])
    await folder.close()
    folder.execute("DROP TABLE daybook")
    folder.execute("UPDATE alembic_version SET version_num = '0002'")
    store = await folder.open()
    assert store.remembered.counts[QUEUED] == 1
    assert store.usage()["schema"] == "0003"


# -- what cannot be entered ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields", [{"key": "\udc80"}, {"client": "\udc80"}, {"place": 1 << 65}, {"payload": object()}]
)
@pytest_twisted.ensureDeferred
async def test_what_no_table_takes_is_refused_at_once(
    folder: Any, records: Any, fields: dict[str, Any]
) -> None:
    """It would be found out too late, and each time that the store is opened."""
    store = await folder.open()
    with pytest.raises(StoreBroken):
        await store.commit([JobsAdded([records.job(1, **fields)])])
    store = await folder.again()
    assert store.remembered.next_job == 1


@pytest_twisted.ensureDeferred
async def test_any_text_may_be_told_of_a_job(folder: Any, records: Any) -> None:
    store = await folder.open()
    job = records.job(1, changes={"story": ((1.0, "lost", "\udc80"),), "why": "\udcff"})
    await store.commit([JobsAdded([job])])
    (kept,) = await store.jobs([JobId(1)])
    assert (kept.story, kept.why) == (job.story, "\udcff")


@pytest_twisted.ensureDeferred
async def test_large_bodies_are_written_once(folder: Any, records: Any, end: Any) -> None:
    store = await opened(folder)
    large = records.job(1, payload=b"p" * 9000)
    await store.commit([JobsAdded([large, records.job(2)])])
    await store.commit([JobsEnded([end(large, b"b" * 9000, b"l" * 9000)])])
    ((longest,),) = await rows(store, "SELECT max(length(packed)) FROM daybook")
    assert longest < 2000
    store = await folder.again()
    assert [len(job.payload) for job in await store.jobs([JobId(1), JobId(2)])] == [9000, 7]
    (outcome,) = await store.outcomes([JobId(1)])
    assert (outcome.body, outcome.log) == (b"b" * 9000, b"l" * 9000)


@pytest_twisted.ensureDeferred
async def test_on_a_full_disk_what_is_committed_is_read(
    folder: Any, records: Any, end: Any, monkeypatch: Any
) -> None:
    store = await opened(folder)
    jobs = [records.job(n) for n in range(1, 700)]
    await store.commit([JobsAdded(jobs)])
    await store.commit([JobsEnded([end(jobs[0])])])
    writer = store._opened.writer
    with monkeypatch.context() as patch:

        def full(*_: Any) -> None:
            raise StorageFull("the disk is full")

        patch.setattr(writer, "post", full)
        assert len(await store.jobs([job.id for job in jobs])) == 699
        (outcome,) = await store.outcomes([JobId(1)])
        assert outcome.body == b"body"
        assert (await store.read(Oldest(False, 5))).ids == [1]
        assert await store.outcomes([JobId(1000)]) == [None]
        assert await rows(store, JOBS) == []
    await post(store)
    assert len(await rows(store, JOBS)) == 512  # a large commit comes in by parts
    await post(store)
    await post(store)
    assert len(await rows(store, JOBS)) == 699
