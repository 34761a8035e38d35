"""A disk that is full or fails, and a store that somebody else has taken over."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from ampacity.coordinator.effects import JobsAdded, JobsEnded, JobsForgotten
from ampacity.coordinator.kept import ByIds
from ampacity.coordinator.sqlite_file import broken_when_used
from ampacity.coordinator.store import StoreBroken
from ampacity.coordinator.transitions import QUEUED
from ampacity.protocol.errors import StorageFull
from ampacity.protocol.ids import JobId
from twisted.internet.defer import Deferred


@attrs.define
class Watcher:
    """Watches nothing, and notes what it is told."""

    reason: str = ""
    times: int = 0
    making: Deferred[bool] | None = None

    def full(self) -> Deferred[bool] | None:
        self.times += 1
        return self.making


@pytest_twisted.ensureDeferred
async def test_what_the_watcher_says_is_told(folder: Any) -> None:
    room = Watcher("the disk is nearly full")
    store = await folder.open(room=room)
    assert store.room() == "the disk is nearly full"
    room.reason = ""
    assert store.room() == ""


@pytest_twisted.ensureDeferred
async def test_a_write_of_an_old_term_is_refused(folder: Any, records: Any) -> None:
    store = await folder.open()
    connection = store._opened.file.connection
    await store._in_thread(connection.execute, "UPDATE meta SET term = 2")
    with pytest.raises(StoreBroken, match=r"term 2.*1"):
        await store.commit([JobsAdded([records.job(1)])])
    with pytest.raises(StoreBroken):  # for good
        await store.commit([])
    await folder.close()
    assert folder.execute("SELECT count(*) FROM jobs") == [(0,)]


@pytest_twisted.ensureDeferred
async def test_a_batch_that_fails_leaves_nothing(folder: Any, records: Any) -> None:
    store = await folder.open()
    await store.commit([JobsAdded([records.job(1)])])
    with pytest.raises(StoreBroken):
        await store.commit([JobsAdded([records.job(2), records.job(1)])])
    store = await folder.again()
    assert store.remembered.counts[QUEUED] == 1


@pytest_twisted.ensureDeferred
async def test_a_full_disk_is_told_when_room_was_made(
    folder: Any, records: Any, monkeypatch: Any
) -> None:
    room = Watcher(making=Deferred())
    store = await folder.open(room=room)

    def full(batch: Any) -> None:
        raise StorageFull

    monkeypatch.setattr(store._opened.writer, "write", full)
    told: list[Any] = []
    store.commit([JobsAdded([records.job(1)])]).addBoth(told.append)
    while not room.times:
        await folder.turn()
    assert told == []
    assert room.making is not None
    room.making.callback(True)
    assert told[0].check(StorageFull)


class Erring(sqlite3.OperationalError):
    pass


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, StorageFull),
        (sqlite3.SQLITE_IOERR_FSYNC, StoreBroken),
        (sqlite3.SQLITE_IOERR_WRITE, StoreBroken),
        (sqlite3.SQLITE_CORRUPT, StoreBroken),
        (sqlite3.SQLITE_READONLY, StoreBroken),
        (sqlite3.SQLITE_BUSY, StoreBroken),
    ],
)
def test_errors_are_told_by_what_is_to_be_done(code: int, kind: type[Exception]) -> None:
    error = Erring("no")
    error.sqlite_errorcode = code
    with pytest.raises(kind), broken_when_used():
        raise error


@pytest_twisted.ensureDeferred
async def test_a_closed_store_says_so(folder: Any, records: Any) -> None:
    store = await folder.open()
    await folder.close()
    await store.close()  # again
    with pytest.raises(StoreBroken, match="closed"):
        await store.commit([JobsAdded([records.job(1)])])
    with pytest.raises(StoreBroken, match="closed"):
        await store.read(ByIds([]))


@pytest_twisted.ensureDeferred
async def test_what_was_begun_is_done_before_the_end(folder: Any, records: Any) -> None:
    store = await folder.open()
    done = [store.commit([JobsAdded([records.job(n)])]) for n in range(1, 20)]
    await folder.close()
    assert all(deferred.called for deferred in done)
    assert folder.execute("SELECT count(*) FROM jobs") == [(19,)]
    assert not folder.database.with_name("queue.db-wal").exists()


# -- a real disk that is full ----------------------------------------------------------------------


@pytest.fixture
def small_disk(folder: Any) -> Iterator[Path]:
    """Four mebibytes."""
    folder.path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder.path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk of a size of its own takes root")
    yield folder.path
    subprocess.run(["umount", "-l", str(folder.path)], check=True)


@pytest_twisted.ensureDeferred
async def test_a_full_disk_refuses_a_batch_and_takes_it_later(
    small_disk: Path, folder: Any, records: Any, end: Any
) -> None:
    room = Watcher()
    store = await folder.open(room=room)
    small = records.job(1)
    await store.commit([JobsAdded([small])])
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (1 << 20))
    large = [records.job(n, payload=os.urandom(30_000)) for n in range(2, 400)]
    with pytest.raises(StorageFull, match="disk is full"):
        await store.commit([JobsAdded(large)])
    assert room.times == 1
    assert [job.id for job in await store.jobs([JobId(1), JobId(2)])] == [1]
    ballast.unlink()
    await store.commit([JobsEnded([end(small, b"done")]), JobsAdded(large[:20])])
    store = await folder.again()
    assert (await store.outcomes([JobId(1)]))[0].body == b"done"
    assert store.remembered.counts[QUEUED] == 20
    await store.commit([JobsForgotten([job.id for job in large[:20]])])
    await folder.close()


@pytest_twisted.ensureDeferred
async def test_a_disk_that_stays_full_loses_nothing(
    small_disk: Path, folder: Any, records: Any
) -> None:
    store = await folder.open()
    kept = 0
    with pytest.raises(StorageFull):
        for number in range(1, 1000):
            await store.commit([JobsAdded([records.job(number, payload=os.urandom(20_000))])])
            kept = number
    for _ in range(3):
        with pytest.raises(StorageFull):
            await store.commit([JobsAdded([records.job(5000, payload=os.urandom(60_000))])])
    assert len(await store.jobs([JobId(n) for n in range(1, 1000)])) == kept
    (small_disk / "queue.db").stat()
    assert not any(job.damage for job in await store.jobs([JobId(n) for n in range(1, kept)]))
    await folder.close()
