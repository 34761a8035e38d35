"""What has changed on the disk is found out: never a wrong value, whatever byte it is in."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity.coordinator.effects import (
    AttemptsMade,
    GroupSaved,
    Hold,
    JobsAdded,
    JobsEnded,
    JobsTaken,
    SessionSaved,
    WorkerSaved,
)
from ampacity.coordinator.kept import Backlog, ByIds, KeptJob
from ampacity.coordinator.schema import METADATA
from ampacity.coordinator.store import StoreBroken
from ampacity.coordinator.transitions import SUCCEEDED
from ampacity.protocol.errors import StoreRefused
from ampacity.protocol.ids import Attempt, JobId, SessionId
from ampacity.protocol.jobs import BlobRef
from ampacity.protocol.outcomes import Ending, unpack_outcome
from ampacity.protocol.ports import Accepted

HERE = SessionId(b"h" * 16)
JOBS = [JobId(n) for n in range(1, 21)]


async def fill(folder: Any, records: Any, end: Any) -> dict[int, KeptJob]:
    """Twenty jobs of all kinds in a closed store, and what is to be read of them."""
    store = await folder.open()
    worker, group = records.worker(), records.group(1)
    jobs = [
        records.job(n, key=f"k{n}" if n % 3 else None, payload=b"p%d" % n, name=f"n{n % 2}")
        for n in JOBS[:-3]
    ]
    jobs.append(records.job(18, payload=BlobRef(b"b" * 32, 9), orphans="cancel"))
    jobs.append(records.job(19, group=group, place=0))
    jobs.append(records.job(20, group=group, place=1, changes={"story": ((1.0, "a", "b"),)}))
    await store.commit([WorkerSaved(worker), GroupSaved(group), JobsAdded(jobs)])
    for job in jobs[:9]:
        job.attempt, job.worker, job.state, job.began = Attempt(1, 1), worker, 1, 2.5
    await store.commit([AttemptsMade(worker, jobs[:9])])
    await store.commit([JobsEnded([end(job, b"body %d" % job.id) for job in jobs[:7]])])
    await store.commit([JobsTaken(JOBS[:4]), Hold([b"b" * 32])])
    await store.commit([SessionSaved(records.session(), 1, Accepted(ids=((1, 20),)))])
    kept = {job.id: job for job in await store.jobs(JOBS)}
    await folder.close()
    assert not any(job.damage for job in kept.values())
    return kept


def reason(outcome: Any) -> str:
    evidence = unpack_outcome(outcome.body).evidence
    assert evidence is not None
    return evidence.reason


COLUMNS = [
    (table.name, column.name)
    for table in METADATA.sorted_tables
    if table.name in ("jobs", "payloads", "outcomes")
    for column in table.c
    if column.name != "id"
]


def another(value: Any) -> Any:
    match value:
        case None:
            return 1
        case int():
            return value ^ 1
        case float():
            return value + 0.25
        case str():
            return value[:-1] + chr(ord(value[-1]) ^ 1)
        case b"":
            return b"more"
        case bytes():
            return value[:-1] + bytes([value[-1] ^ 1])


@pytest.mark.parametrize(("table", "column"), COLUMNS)
@pytest_twisted.ensureDeferred
async def test_a_change_of_any_column_is_found_out(
    folder: Any, records: Any, end: Any, table: str, column: str
) -> None:
    kept = await fill(folder, records, end)
    for number in (2, 6, 12, 18, 20):
        for (value,) in folder.execute(f"SELECT {column} FROM {table} WHERE id = ?", [number]):
            folder.execute(
                f"UPDATE {table} SET {column} = ? WHERE id = ?", [another(value), number]
            )
            store = await folder.open()
            await _nothing_is_wrong(store, kept)
            if table != "outcomes":
                (job,) = (await store.read(ByIds([JobId(number)]))).rows
                assert f"job {number} is damaged" in job.damage
            else:
                (outcome,) = await store.outcomes([JobId(number)])
                assert outcome.ending == Ending.CRASHED
                assert f"job {number} " in reason(outcome)
            await folder.close()
            folder.execute(f"UPDATE {table} SET {column} = ? WHERE id = ?", [value, number])


async def _nothing_is_wrong(store: Any, kept: dict[int, KeptJob]) -> None:
    """Whatever the store says is what was written, or is said to be damaged."""
    found = [*await store.jobs(JOBS), *store.remembered.live]
    found += (await store.read(Backlog(HERE, JobId(0), 100))).rows
    for job in found:
        assert job.damage or job == kept[job.id]
    for number, outcome in zip(JOBS, await store.outcomes(JOBS), strict=True):
        if outcome is not None and outcome.ending != Ending.CRASHED:
            assert outcome == (kept[number].state - 3, b"body %d" % number, b"")


@pytest_twisted.ensureDeferred
async def test_a_value_of_another_row_is_found_out(folder: Any, records: Any, end: Any) -> None:
    """Whole rows in each other's place."""
    await fill(folder, records, end)
    for table in ("payloads", "outcomes"):
        folder.execute(f"UPDATE {table} SET id = id + 100 WHERE id IN (1, 2)")
        swap = f"UPDATE {table} SET id = CASE id WHEN 101 THEN 2 ELSE 1 END WHERE id > 100"
        folder.execute(swap)
    store = await folder.open()
    assert all("payload" in job.damage for job in await store.jobs(JOBS[:2]))
    assert [o.ending for o in await store.outcomes(JOBS[:2])] == [Ending.CRASHED] * 2


@pytest_twisted.ensureDeferred
async def test_missing_rows_are_found_out(folder: Any, records: Any, end: Any) -> None:
    await fill(folder, records, end)
    folder.execute("DELETE FROM payloads WHERE id = 1")
    folder.execute("DELETE FROM outcomes WHERE id = 1")
    folder.execute("DELETE FROM specs WHERE name = 'n0'")
    store = await folder.open()
    one, two, three = await store.jobs(JOBS[:3])
    assert "payload" in one.damage
    assert "spec" in two.damage
    assert not three.damage
    (outcome,) = await store.outcomes([JobId(1)])
    assert "is missing" in reason(outcome)


@pytest_twisted.ensureDeferred
async def test_a_damaged_spec_is_found_out(folder: Any, records: Any, end: Any) -> None:
    await fill(folder, records, end)
    for change in ("packed = packed || x'00'", "name = 'other'", "jobs = jobs + 1", "seal = 1"):
        before = folder.execute("SELECT digest, name, jobs, packed, seal FROM specs")
        folder.execute(f"UPDATE specs SET {change}")
        store = await folder.open()
        assert all("its spec" in job.damage for job in await store.jobs(JOBS))
        await folder.close()
        for digest, *values in before:
            folder.execute(
                "UPDATE specs SET name = ?, jobs = ?, packed = ?, seal = ? WHERE digest = ?",
                [*values, digest],
            )


@pytest_twisted.ensureDeferred
async def test_a_state_that_contradicts_itself_is_found_at_the_start(
    folder: Any, records: Any, end: Any
) -> None:
    """A job that nobody would look at again."""
    await fill(folder, records, end)
    folder.execute("UPDATE jobs SET state = ? WHERE id = 15", [SUCCEEDED])
    folder.execute("UPDATE jobs SET state = 0 WHERE id = 1")
    folder.execute("UPDATE jobs SET state = 77 WHERE id = 2")
    store = await folder.open()
    damaged = [job.id for job in store.remembered.live if job.damage]
    assert damaged == [1, 2, 15]


@pytest_twisted.ensureDeferred
async def test_other_damaged_records_are_left_out(folder: Any, records: Any, end: Any) -> None:
    await fill(folder, records, end)
    folder.execute("UPDATE sessions SET next_sequence = 9")
    folder.execute("UPDATE workers SET local = 1")
    folder.execute("UPDATE blobs SET uses = 0")
    folder.execute("UPDATE groups SET client = 'thief'")
    remembered = (await folder.open()).remembered
    assert remembered.sessions == []
    assert remembered.workers == []
    assert remembered.blobs[b"b" * 32] > 1_000_000  # never removed
    (group,) = remembered.groups
    assert (group.id, group.client, group.size, group.jobs) == (1, "c", 2, 2)


@pytest.mark.parametrize("column", ["store", "term", "next_job", "next_group", "seal"])
@pytest_twisted.ensureDeferred
async def test_a_damaged_first_record_is_refused(folder: Any, records: Any, column: str) -> None:
    await folder.open()
    await folder.close()
    folder.execute(f"UPDATE meta SET {column} = 5")
    with pytest.raises(StoreRefused, match=r"damaged.*ampacity backup"):
        await folder.open()


@pytest_twisted.ensureDeferred
async def test_a_file_that_is_no_database_is_refused(folder: Any) -> None:
    await folder.open()
    await folder.close()
    folder.database.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreRefused, match=r"damaged.*ampacity backup"):
        await folder.open()


@pytest_twisted.ensureDeferred
async def test_a_truncated_file_is_refused_or_said_to_be_damaged(
    folder: Any, records: Any, end: Any
) -> None:
    kept = await fill(folder, records, end)
    whole = folder.database.read_bytes()
    for pages in (1, 3, 6, 10, len(whole) // 4096 - 1):
        folder.database.write_bytes(whole[: pages * 4096])
        await _opened_with_damage(folder, kept)


@pytest.mark.parametrize("seed", range(4))
@pytest_twisted.ensureDeferred
async def test_a_flipped_bit_never_gives_a_wrong_value(
    folder: Any, records: Any, end: Any, seed: int
) -> None:
    kept = await fill(folder, records, end)
    whole = folder.database.read_bytes()
    chance = random.Random(seed)
    used = [n for n, byte in enumerate(whole) if byte]
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[chance.choice(used)] ^= 1 << chance.randrange(8)
        _write(folder.database, bytes(damaged))
        await _opened_with_damage(folder, kept)


def _write(database: Path, data: bytes) -> None:
    database.with_name("queue.db-wal").unlink(missing_ok=True)
    database.write_bytes(data)


async def _opened_with_damage(folder: Any, kept: dict[int, KeptJob]) -> None:
    try:
        store = await folder.open()
        await _nothing_is_wrong(store, kept)
    except (StoreRefused, StoreBroken):
        pass
    await folder.close()
