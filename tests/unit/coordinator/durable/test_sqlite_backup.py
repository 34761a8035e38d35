"""Copies made while a store is used."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity.coordinator.effects import JobsAdded, JobsEnded
from ampacity.coordinator.transitions import QUEUED, SUCCEEDED
from ampacity.protocol.errors import StoreRefused
from ampacity.protocol.ids import JobId
from twisted.internet.defer import Deferred


def value(folder: Path, name: int, data: bytes) -> Path:
    values = folder / "values"
    values.mkdir(exist_ok=True)
    path = values / f"{name:064x}"
    path.write_bytes(data)
    return path


@pytest_twisted.ensureDeferred
async def test_a_backup_is_a_store(folder: Any, records: Any, end: Any, tmp_path: Path) -> None:
    store = await folder.open()
    jobs = [records.job(n) for n in range(1, 200)]
    await store.commit([JobsAdded(jobs)])
    await store.commit([JobsEnded([end(job, b"body %d" % job.id) for job in jobs[:100]])])
    value(folder.path, 1, b"one")
    told = await store.backup(tmp_path / "copy")
    assert told["jobs"] == 199
    assert told["values"] == 1
    assert told["seconds"] > 0
    files = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert told["bytes"] == sum(path.stat().st_size for path in files)
    assert {path.name for path in files} == {"queue.db", f"{1:064x}"}
    await store.commit([JobsAdded([records.job(200)])])  # it goes on, and the copy does not
    await folder.close()

    first = store.id
    folder.path = tmp_path / "copy"
    restored = await folder.open()
    assert (restored.id, restored.term) == (first, 2)
    assert restored.remembered.counts[QUEUED] == 99
    assert restored.remembered.counts[SUCCEEDED] == 100
    assert restored.remembered.next_job == 200
    assert [o.body for o in await restored.outcomes([JobId(7)])] == [b"body 7"]
    await restored.commit([JobsAdded([records.job(200)])])


@pytest_twisted.ensureDeferred
async def test_only_its_owner_can_read_a_backup(folder: Any, tmp_path: Path) -> None:
    store = await folder.open()
    await store.backup(tmp_path / "copy")
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "copy" / "queue.db").stat().st_mode) == 0o600


@pytest_twisted.ensureDeferred
async def test_commits_go_on_during_a_backup(folder: Any, records: Any, tmp_path: Path) -> None:
    """Whatever was acknowledged before it began is in it; what is in it was whole."""
    store = await folder.open()
    number, acknowledged = 1, 0

    async def commit_some() -> None:
        nonlocal number, acknowledged
        jobs = [records.job(n, payload=os.urandom(500)) for n in range(number, number + 50)]
        number += 50
        await store.commit([JobsAdded(jobs)])
        acknowledged += 50

    for _ in range(20):
        await commit_some()
    before = acknowledged
    backup: Deferred[dict[str, Any]] = store.backup(tmp_path / "copy")
    while not backup.called:
        await commit_some()
    told = await backup
    assert before <= told["jobs"] <= acknowledged
    assert told["jobs"] % 50 == 0
    live = await folder.again()
    assert live.remembered.counts[QUEUED] == acknowledged
    await folder.close()
    folder.path = tmp_path / "copy"
    copy = await folder.open()
    kept = await copy.jobs([JobId(n) for n in range(1, number)])
    assert len(kept) == told["jobs"]
    assert not any(job.damage for job in kept)


@pytest_twisted.ensureDeferred
async def test_values_are_linked_and_half_ones_left_out(folder: Any, tmp_path: Path) -> None:
    store = await folder.open()
    whole = value(folder.path, 5, b"whole")
    (whole.parent / f"{6:064x}.part").write_bytes(b"half")
    await store.backup(tmp_path / "copy")
    copied = tmp_path / "copy" / "values" / whole.name
    assert copied.samefile(whole)
    assert [path.name for path in copied.parent.iterdir()] == [whole.name]


@pytest_twisted.ensureDeferred
async def test_values_are_copied_where_they_cannot_be_linked(
    folder: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    def no_link(source: Any, target: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    store = await folder.open()
    whole = value(folder.path, 5, b"whole")
    await store.backup(tmp_path / "copy")
    copied = tmp_path / "copy" / "values" / whole.name
    assert copied.read_bytes() == b"whole"
    assert not copied.samefile(whole)


@pytest_twisted.ensureDeferred
async def test_a_folder_that_exists_is_refused(folder: Any, tmp_path: Path) -> None:
    store = await folder.open()
    (tmp_path / "copy").mkdir()
    with pytest.raises(StoreRefused, match="exists"):
        await store.backup(tmp_path / "copy")
    (tmp_path / "new.partial").mkdir()
    with pytest.raises(StoreRefused, match=r"new\.partial exists"):
        await store.backup(tmp_path / "new")
    with pytest.raises(StoreRefused, match="cannot be made"):
        await store.backup(tmp_path / "none" / "new")
    assert (tmp_path / "new.partial").exists()


@pytest_twisted.ensureDeferred
async def test_one_backup_at_a_time(folder: Any, tmp_path: Path) -> None:
    store = await folder.open()
    first: Deferred[Any] = store.backup(tmp_path / "one")
    with pytest.raises(StoreRefused, match=r"being made.*one"):
        await store.backup(tmp_path / "two")
    await first
    await store.backup(tmp_path / "two")


@pytest_twisted.ensureDeferred
async def test_a_failed_backup_leaves_nothing(
    folder: Any, records: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    store = await folder.open()
    monkeypatch.setattr("ampacity.coordinator.backup.COPY", "/bin/false")
    with pytest.raises(StoreRefused, match="could not be copied"):
        await store.backup(tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == []
    await store.commit([JobsAdded([records.job(1)])])
