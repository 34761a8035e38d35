"""A job that is not found, and is not forgotten either, is missed: at the start, and when read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import pytest_twisted
from ampacity.cli.doctor import _read_store
from ampacity.coordinator import examining
from ampacity.coordinator.effects import JobsAdded, JobsEnded, JobsForgotten, JobsTaken
from ampacity.coordinator.examining import in_short, run_seal, structure
from ampacity.coordinator.kept import Backlog, ByIds, Oldest
from ampacity.coordinator.ledger import Ledger
from ampacity.coordinator.migrating import migrate
from ampacity.coordinator.sqlite_file import SqliteFile
from ampacity.coordinator.store import StoreBroken
from ampacity.protocol.errors import StoreRefused
from ampacity.protocol.ids import JobId, SessionId
from ampacity.protocol.outcomes import Ending, unpack_outcome
from hypothesis import given, settings
from hypothesis import strategies as st

HERE = SessionId(b"h" * 16)
FIRST = Path(__file__).with_name("schema-0001.sql")


def ids(*numbers: int) -> list[JobId]:
    return [JobId(number) for number in numbers]


async def fill(folder: Any, records: Any, end: Any, jobs: int = 20) -> Any:
    """An open store; the first ten jobs have ended, five are taken, 2, 3 and 5 forgotten."""
    store = await folder.open()
    made = [records.job(n, key=f"k{n}") for n in range(1, jobs + 1)]
    await store.commit([JobsAdded(made)])
    await store.commit([JobsEnded([end(job, b"body %d" % job.id) for job in made[:10]])])
    await store.commit([JobsTaken(ids(1, 2, 3, 4, 5)), JobsForgotten(ids(2, 3, 5))])
    return store


def runs(folder: Any) -> list[tuple[int, int]]:
    found = folder.execute("SELECT first, last, seal FROM forgotten ORDER BY first")
    assert all(run_seal(first, last) == seal for first, last, seal in found)
    return [row[:2] for row in found]


# -- the account ----------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_forgotten_jobs_are_accounted_for_in_runs(
    folder: Any, records: Any, end: Any
) -> None:
    store = await fill(folder, records, end)
    await folder.close()
    assert runs(folder) == [(2, 3), (5, 5)]
    store = await folder.open()
    await store.commit([JobsForgotten(ids(4))])
    await store.commit([JobsForgotten(ids(1, 9, 6))])
    await folder.close()
    assert runs(folder) == [(1, 6), (9, 9)]


@pytest_twisted.ensureDeferred
async def test_jobs_that_were_never_written_are_accounted_for(
    folder: Any, records: Any, end: Any
) -> None:
    store = await folder.open()
    gone = records.job(2)
    await store.commit(
        [
            JobsAdded([records.job(1), gone, records.job(3)]),
            JobsEnded([end(gone)]),
            JobsForgotten(ids(2)),
        ]
    )
    await store.commit([JobsAdded([records.job(7)])])
    store = await folder.again()
    assert store.remembered.next_job == 8
    assert [job.id for job in await store.jobs(ids(*range(1, 9)))] == [1, 3, 7]
    await folder.close()
    assert runs(folder) == [(2, 2), (4, 6)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sets(st.integers(1, 40), max_size=12), max_size=8))
def test_runs_touch_nowhere(batches: list[set[int]]) -> None:
    with TemporaryDirectory() as folder, closing(SqliteFile(Path(folder) / "f", "NORMAL")) as file:
        migrate(file.connection)
        _ledger_is_right(file, batches)


def _ledger_is_right(file: SqliteFile, batches: list[set[int]]) -> None:
    ledger, known = Ledger(file, 41), set(range(1, 41))
    for batch in batches:
        ledger.forget(batch)
        known -= batch
        found = file.connection.execute("SELECT first, last FROM forgotten ORDER BY 1").fetchall()
        numbers = [n for first, last in found for n in range(first, last + 1)]
        assert numbers == sorted(set(range(1, 41)) - known)
        assert all(b[0] > a[1] + 1 for a, b in pairwise(found))
        assert ledger.lost(range(-1, 60)) == sorted(known)


# -- at the start ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DELETE FROM jobs WHERE id = 12", r"not there any more: 12\)"),
        ("DELETE FROM jobs WHERE id IN (1, 7, 8, 20)", r"any more: 1, 7 to 8, 20\)"),
        ("DELETE FROM jobs WHERE id % 2 = 0 AND id > 0", r"4, 6, 8.*12"),
        ("DELETE FROM jobs", r"any more: 1, 4, 6 to 20\)"),
        ("UPDATE jobs SET id = 3 WHERE id = 4", "job 3 is there, and was forgotten"),
        ("UPDATE jobs SET id = 21 WHERE id = 20", "only 1 to 20 were accepted"),
        ("UPDATE jobs SET id = 0 WHERE id = 1", "only 1 to 20 were accepted"),
        ("DELETE FROM forgotten WHERE first = 5", "not there any more: 5"),
        ("UPDATE forgotten SET last = 7 WHERE first = 5", "forgotten jobs from 5 is damaged"),
        ("UPDATE forgotten SET last = 'x' WHERE first = 5", "forgotten jobs from 5 is damaged"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_job_that_is_missing_is_missed_at_the_start(
    folder: Any, records: Any, end: Any, change: str, told: str
) -> None:
    await fill(folder, records, end)
    await folder.close()
    folder.execute(change)
    with pytest.raises(StoreRefused, match=rf"damaged.*{told}.*ampacity doctor.*ampacity backup"):
        await folder.open()
    assert folder.execute("SELECT term FROM meta") == [(1,)], "it was written to"
    assert "is damaged" in _read_store(folder.database).text


def index_root(folder: Any, name: str) -> int:
    ((page,),) = folder.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [name])
    return int(page)


def forget_an_entry(folder: Any, name: str) -> None:
    """Take the last cell of an index's page away."""
    data = bytearray(folder.database.read_bytes())
    start = (index_root(folder, name) - 1) * 4096
    cells = int.from_bytes(data[start + 3 : start + 5], "big")
    assert data[start] == 0x0A and cells > 1
    data[start + 3 : start + 5] = (cells - 1).to_bytes(2, "big")
    folder.database.write_bytes(data)


INDEXES = ["jobs_by_key", "jobs_owed", "jobs_untaken", "jobs_taken"]


@pytest.mark.parametrize("index", INDEXES)
@pytest_twisted.ensureDeferred
async def test_a_damaged_index_is_made_anew(
    folder: Any, records: Any, end: Any, index: str
) -> None:
    store = await fill(folder, records, end)
    await folder.close()
    forget_an_entry(folder, index)
    check = _read_store(folder.database)
    assert not check.good and "start the coordinator" in (check.todo or "")
    store = await folder.open()
    assert index in store.usage()["mended"]
    assert (await store.read(Backlog(HERE, JobId(0), 99))).ids == ids(6, 7, 8, 9, 10)
    assert (await store.read(Oldest(True, 99))).ids == ids(1, 4)
    store = await folder.again()
    assert (store.usage()["mended"], store.usage()["damaged"]) == (None, 0)


@pytest_twisted.ensureDeferred
async def test_a_mark_of_delivery_that_is_none_is_taken_away(
    folder: Any, records: Any, end: Any
) -> None:
    """What may not have been delivered is delivered again."""
    await fill(folder, records, end)
    await folder.close()
    folder.execute("UPDATE jobs SET taken = 0 WHERE id = 8")
    forget_an_entry(folder, "jobs_taken")
    store = await folder.open()
    assert 8 in (await store.read(Backlog(HERE, JobId(0), 99))).ids
    (job,) = await store.jobs(ids(8))
    assert not job.damage


@pytest_twisted.ensureDeferred
async def test_what_a_damaged_index_tells_of_a_damaged_row_is_told(
    folder: Any, records: Any, end: Any
) -> None:
    await fill(folder, records, end)
    await folder.close()
    data = folder.database.read_bytes()
    sessions = [n for n in range(len(data)) if data.startswith(b"c" + HERE, n)]
    told = 0
    for place in sessions:  # in rows, with the client before them, which no index has
        changed = bytearray(data)
        changed[place + 3] ^= 1
        folder.database.write_bytes(changed)
        usage = (await folder.open()).usage()
        assert usage["damaged"] == (1 if usage["mended"] else 0)
        told += usage["damaged"]
        await folder.close()
    assert told == 5, "the sessions of jobs that are owed are in an index"


@pytest_twisted.ensureDeferred
async def test_of_a_large_store_what_its_jobs_would_miss_anyway_is_left_out(
    folder: Any, records: Any, end: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(folder, records, end)
    await folder.close()
    monkeypatch.setattr(examining, "WHOLE_BYTES", 0)
    asked: list[str] = []
    with closing(sqlite3.connect(folder.database)) as connection:
        connection.set_trace_callback(asked.append)
        assert structure(connection) == []
        checked = [sql for sql in asked if "integrity_check" in sql]
        assert len(checked) == 10 and not any("payloads" in sql for sql in checked)
        asked.clear()
        assert structure(connection, whole=True) == []
        assert [sql for sql in asked if "integrity" in sql] == ["PRAGMA integrity_check"]
    forget_an_entry(folder, "jobs_owed")
    store = await folder.open()
    assert "jobs_owed" in store.usage()["mended"]


def test_a_long_list_is_told_in_short() -> None:
    assert in_short(["a\nb", "c"]) == "a b; c"
    assert in_short([str(n) for n in range(30)]) == "0; 1; 2; 3; 4; 5; 6; 7; 8; 9; ..."


@pytest_twisted.ensureDeferred
async def test_a_power_cut_while_a_store_is_made_leaves_a_new_one(
    folder: Any, records: Any
) -> None:
    store = await folder.open()
    await folder.close()
    folder.execute("DELETE FROM meta")
    store = await folder.open()
    assert store.term == 1
    await store.commit([JobsAdded([records.job(1)])])
    await store.commit([JobsForgotten(ids(1))])
    await folder.close()
    folder.execute("DELETE FROM meta")
    with pytest.raises(StoreRefused, match="in its first record"):
        await folder.open()


# -- while it is used -----------------------------------------------------------------------------


async def lose(store: Any, *numbers: int) -> None:
    """As damage of a page would, that is read again from the disk."""

    def do() -> None:
        for number in numbers:
            store._opened.file.connection.execute("DELETE FROM jobs WHERE id = ?", [number])

    await store._in_thread(do)


@pytest_twisted.ensureDeferred
async def test_a_job_that_is_lost_while_the_store_is_used_is_damaged(
    folder: Any, records: Any, end: Any
) -> None:
    store = await fill(folder, records, end)
    await lose(store, 9, 12)
    found = await store.jobs(ids(1, 2, 9, 12, 13, 21, 99))
    assert [job.id for job in found] == [1, 9, 12, 13]
    assert [job.id for job in found if job.damage] == [9, 12]
    assert "job 9 is damaged in the store: it is not where it was stored" in found[1].damage
    ended, gone, lost, unknown = await store.outcomes(ids(1, 2, 9, 99))
    assert (ended.body, gone, unknown) == (b"body 1", None, None)
    assert lost.ending == Ending.CRASHED
    evidence = unpack_outcome(lost.body).evidence
    assert evidence is not None and "nor is the job" in evidence.reason
    assert store.usage()["damaged"] == 2


@pytest_twisted.ensureDeferred
async def test_the_scheduler_is_not_told_that_a_lost_job_is_unknown(
    folder: Any, records: Any, end: Any
) -> None:
    store = await fill(folder, records, end)
    assert [job.id for job in (await store.read(ByIds(ids(1, 2, 9)))).rows] == [1, 9]
    await lose(store, 9)
    with pytest.raises(StoreBroken, match="job 9 is damaged"):
        await store.read(ByIds(ids(1, 2, 9)))
    with pytest.raises(StoreBroken, match="job 9 is damaged"):
        await store.commit([JobsAdded([records.job(21)])])


@pytest_twisted.ensureDeferred
async def test_jobs_that_come_between_two_slices_of_a_question_are_not_lost(
    folder: Any, records: Any, end: Any
) -> None:
    store = await fill(folder, records, end, jobs=70)
    asked = ids(*range(1, 400))
    answers = [store.jobs(asked), store.read(ByIds(asked)), store.outcomes(asked)]
    adding = store.commit([JobsAdded([records.job(n) for n in range(71, 301)])])
    forgetting = store.commit([JobsForgotten(ids(10, 6))])
    found, read, outcomes = [await answer for answer in answers]
    assert not [job for job in [*found, *read.rows] if job.damage]
    assert {o.ending for o in outcomes if o is not None} == {Ending.SUCCEEDED}
    await adding
    await forgetting


# -- stores of the first schema -------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_what_an_older_release_has_forgotten_is_accounted_for(folder: Any) -> None:
    folder.path.mkdir(mode=0o700)
    with closing(sqlite3.connect(folder.database)) as connection:
        connection.executescript(FIRST.read_text())
        connection.execute("DELETE FROM jobs WHERE id <> 2")
        connection.commit()
    store = await folder.open()
    assert [job.id for job in await store.jobs(ids(1, 2, 3, 4))] == [2]
    await folder.close()
    assert runs(folder) == [(1, 1), (3, 3)]


@pytest_twisted.ensureDeferred
async def test_a_damaged_store_of_an_older_release_is_refused(folder: Any) -> None:
    """Else what is missing would be taken for forgotten."""
    folder.path.mkdir(mode=0o700)
    with closing(sqlite3.connect(folder.database)) as connection:
        connection.executescript(FIRST.read_text())
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'jobs_owed'")
        connection.commit()
    with pytest.raises(StoreRefused, match="damaged"):
        await folder.open()
    assert folder.execute("SELECT version_num FROM alembic_version") == [("0001",)]
