"""What a store on disk knows when it is opened again."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from ampacity.coordinator.effects import (
    AttemptsMade,
    GroupForgotten,
    GroupSaved,
    JobsAdded,
    JobsChanged,
    JobsEnded,
    JobsForgotten,
    JobsTaken,
    WorkerSaved,
)
from ampacity.coordinator.kept import ByIds, ByKeys, Orphans, QueuedRun, Stored
from ampacity.coordinator.transitions import (
    DELAYED,
    FAILED,
    QUEUED,
    RUNNING,
    SENT,
    STATE_NAMES,
    SUCCEEDED,
)
from ampacity.protocol.errors import StoreRefused
from ampacity.protocol.ids import Attempt, ClientId, JobId, SessionId
from ampacity.protocol.jobs import BlobRef
from ampacity.protocol.outcomes import Ending

HERE = SessionId(b"h" * 16)


@pytest_twisted.ensureDeferred
async def test_identity_stays_and_the_term_counts_openings(folder: Any) -> None:
    first = await folder.open()
    second = await folder.again()
    third = await folder.again()
    assert first.id == second.id == third.id
    assert (first.term, second.term, third.term) == (1, 2, 3)


@pytest_twisted.ensureDeferred
async def test_a_new_store_remembers_nothing(folder: Any) -> None:
    remembered = (await folder.open()).remembered
    assert (remembered.next_job, remembered.next_group) == (1, 1)
    assert list(remembered.counts) == [0] * len(STATE_NAMES)
    assert not remembered.queued
    assert not remembered.live


@pytest_twisted.ensureDeferred
async def test_files_are_their_owners_only(folder: Any) -> None:
    await folder.open()
    assert folder.database.stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700


@pytest_twisted.ensureDeferred
async def test_a_store_in_use_is_refused(folder: Any) -> None:
    store = await folder.open()
    with pytest.raises(StoreRefused, match="in use"):
        await folder.open()
    await store.commit([])


# -- jobs ------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_every_field_of_a_job_is_kept(folder: Any, records: Any) -> None:
    store = await folder.open()
    job = records.job(
        7,
        key="k",
        group=records.group(3),
        place=12,
        deadline=10.0,
        name="n",
        changes={
            "retry_of": JobId(2),
            "state": RUNNING,
            "attempt": Attempt(4, 2),
            "worker": records.worker(),
            "losses": 1,
            "failures": 2,
            "why": "cancelled",
            "resume": 9.25,
            "began": 3.5,
            "seconds": 0.25,
            "kept": 44,
            "retried": JobId(9),
            "blobs": (BlobRef(b"d" * 32, 1 << 40),),
            "story": ((2.5, "failed", "attempt 1 on w1: \udc80 odd"), (3.0, "delayed", "")),
        },
    )
    await store.commit([JobsAdded([job])])
    for reopen in (False, True):
        if reopen:
            store = await folder.again()
        (kept,) = await store.jobs([JobId(7)])
        assert kept == (
            7,
            "c",
            HERE,
            job.spec.packed,
            b"payload",
            "k",
            3,
            12,
            1.5,
            RUNNING,
            Attempt(4, 2),
            "w1",
            1,
            2,
            "cancelled",
            11.5,
            9.25,
            3.5,
            None,
            0.25,
            False,
            (BlobRef(b"d" * 32, 1 << 40),),
            44,
            9,
            2,
            ((2.5, "failed", "attempt 1 on w1: \udc80 odd"), (3.0, "delayed", "")),
            "",
        )


@pytest.mark.parametrize("payload", [b"", b"x", b"y" * 40_000, BlobRef(b"b" * 32, 0)])
@pytest_twisted.ensureDeferred
async def test_payloads_of_all_kinds_are_kept(folder: Any, records: Any, payload: Any) -> None:
    store = await folder.open()
    await store.commit([JobsAdded([records.job(1, payload=payload)])])
    (kept,) = await (await folder.again()).jobs([JobId(1)])
    assert kept.payload == payload
    assert type(kept.payload) is type(payload)


@pytest_twisted.ensureDeferred
async def test_waiting_jobs_are_runs_of_what_is_alike(folder: Any, records: Any) -> None:
    store = await folder.open()
    jobs = [
        *[records.job(n, submitted=float(n)) for n in (1, 2, 3)],
        records.job(5),
        records.job(6, client="d"),
        records.job(7, client="d", python="3.11"),
        *[records.job(n, client="d", python="3.11", name="other") for n in (8, 9)],
        records.job(10, deadline=5.0, submitted=1.0),
        records.job(11, deadline=4.0, submitted=2.0),
        records.job(12, deadline=5.0, submitted=2.0),
    ]
    await store.commit([JobsAdded(jobs)])
    remembered = (await folder.again()).remembered
    assert remembered.queued == [
        QueuedRun(JobId(1), 3, ClientId("c"), None, None),
        QueuedRun(JobId(5), 1, ClientId("c"), None, None),
        QueuedRun(JobId(6), 1, ClientId("d"), None, None),
        QueuedRun(JobId(7), 3, ClientId("d"), "3.11", None),
        QueuedRun(JobId(10), 2, ClientId("c"), None, 6.0),
        QueuedRun(JobId(12), 1, ClientId("c"), None, 7.0),
    ]
    assert remembered.jobs == {"c": 7, "d": 4}
    assert remembered.counts[QUEUED] == 11
    assert remembered.pending_bytes == 11 * len(b"payload")


@pytest_twisted.ensureDeferred
async def test_jobs_that_are_worked_on_are_remembered_whole(folder: Any, records: Any) -> None:
    store = await folder.open()
    worker = records.worker()
    jobs = [records.job(n, changes={"state": n}) for n in (QUEUED, SENT, RUNNING, DELAYED)]
    jobs[SENT].attempt, jobs[SENT].worker = Attempt(1, 1), worker
    jobs[0].id = JobId(10)
    await store.commit([WorkerSaved(worker), JobsAdded(jobs)])
    remembered = (await folder.again()).remembered
    assert [(job.id, job.state) for job in remembered.live] == [(1, 1), (2, 2), (3, 3)]
    assert remembered.live[0].worker == "w1"
    assert [run.first for run in remembered.queued] == [10]
    assert list(remembered.counts)[:4] == [1, 1, 1, 1]


@pytest_twisted.ensureDeferred
async def test_ended_jobs_are_counted_with_their_bytes(folder: Any, records: Any, end: Any) -> None:
    store = await folder.open()
    jobs = [records.job(n) for n in range(1, 7)]
    await store.commit([JobsAdded(jobs)])
    ends = [end(job, b"x" * job.id) for job in jobs[:4]]
    await store.commit([JobsEnded(ends), JobsTaken([JobId(1)])])
    await store.commit([JobsTaken([JobId(2)])])
    remembered = (await folder.again()).remembered
    assert remembered.taken == (2, 3)
    assert remembered.untaken == (2, 7)
    assert remembered.counts[SUCCEEDED] == 4
    assert remembered.pending_bytes == 2 * len(b"payload")
    assert [job.taken for job in await folder.opened[0].jobs([JobId(2), JobId(3)])] == [True, False]


@pytest_twisted.ensureDeferred
async def test_ids_are_never_given_again(folder: Any, records: Any) -> None:
    store = await folder.open()
    group = records.group(5)
    await store.commit([GroupSaved(group), JobsAdded([records.job(n) for n in (40, 41)])])
    await store.commit([JobsForgotten([JobId(40), JobId(41)]), GroupForgotten(group)])
    store = await folder.again()
    assert (store.remembered.next_job, store.remembered.next_group) == (42, 6)
    await store.commit([JobsAdded([records.job(42)]), JobsForgotten([JobId(42)])])
    assert (await folder.again()).remembered.next_job == 43
    assert folder.opened[0].remembered.counts[QUEUED] == 0


@pytest_twisted.ensureDeferred
async def test_a_forgotten_job_leaves_nothing(folder: Any, records: Any, end: Any) -> None:
    store = await folder.open()
    jobs = [records.job(n, name="one" if n < 3 else "two") for n in (1, 2, 3)]
    await store.commit([JobsAdded(jobs), JobsEnded([end(job) for job in jobs])])
    await store.commit([JobsForgotten([JobId(1), JobId(3), JobId(99)])])
    await folder.close()
    assert folder.execute("SELECT id FROM jobs") == [(2,)]
    assert folder.execute("SELECT id FROM payloads") == [(2,)]
    assert folder.execute("SELECT id FROM outcomes") == [(2,)]
    assert folder.execute("SELECT name, jobs FROM specs") == [("one", 1)]


# -- one row a job ---------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_writes_about_one_job_come_to_its_last_state(
    folder: Any, records: Any, end: Any
) -> None:
    store = await folder.open()
    worker = records.worker()
    job, other, gone = records.job(1), records.job(2), records.job(3)
    job.attempt, job.worker = Attempt(1, 1), worker
    writes = [
        WorkerSaved(worker),
        JobsAdded([job, other, gone]),
        AttemptsMade(worker, [job]),
        JobsChanged([job, gone]),
        JobsEnded([end(job, b"done"), end(gone)]),
        JobsTaken([JobId(1), JobId(3)]),
        JobsForgotten([JobId(3)]),
    ]
    await store.commit(writes)
    kept = await store.jobs([JobId(3), JobId(2), JobId(1)])
    assert [(k.id, k.state, k.taken, k.damage) for k in kept] == [
        (1, SUCCEEDED, True, ""),
        (2, QUEUED, False, ""),
    ]
    assert await store.outcomes([JobId(1)]) == [Stored(Ending.SUCCEEDED, b"done", b"")]
    assert (await folder.again()).remembered.jobs == {"c": 2}


@pytest_twisted.ensureDeferred
async def test_a_batch_of_nothing_is_committed(folder: Any) -> None:
    store = await folder.open()
    assert await store.commit([]) is None


@pytest_twisted.ensureDeferred
async def test_batches_of_all_sizes_are_whole(folder: Any, records: Any, end: Any) -> None:
    store = await folder.open()
    first = 1
    for count in (1, 7, 8, 63, 64, 65, 150):
        jobs = [records.job(n) for n in range(first, first + count)]
        await store.commit([JobsAdded(jobs)])
        await store.commit([JobsEnded([end(job, b"%d" % job.id) for job in jobs])])
        await store.commit([JobsTaken([job.id for job in jobs])])
        first += count
    ids = [JobId(n) for n in range(1, first)]
    kept = await store.jobs(ids)
    assert [job.id for job in kept if job.taken and not job.damage] == ids
    assert [found.body for found in await store.outcomes(ids)] == [b"%d" % n for n in ids]
    await store.commit([JobsForgotten(ids)])
    assert await store.jobs(ids) == []


@pytest_twisted.ensureDeferred
async def test_an_outcome_may_be_replaced(folder: Any, records: Any, end: Any) -> None:
    """As that of a job whose first one was damaged."""
    store = await folder.open()
    job = records.job(1)
    await store.commit([JobsAdded([job]), JobsEnded([end(job, b"one")])])
    await store.commit([JobsEnded([end(job, b"two", state=FAILED)])])
    assert await store.outcomes([JobId(1)]) == [Stored(Ending.FAILED, b"two", b"")]


# -- questions -------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_jobs_are_found_by_their_client_and_key(folder: Any, records: Any) -> None:
    store = await folder.open()
    jobs = [
        records.job(1, key="a"),
        records.job(2, key="b"),
        records.job(3, key="a", client="d"),
        records.job(4),
    ]
    await store.commit([JobsAdded(jobs)])
    found = await store.read(
        ByKeys(ClientId("c"), ["a", "b", "none", *[f"k{n}" for n in range(200)]])
    )
    assert sorted(found.ids) == [1, 2]
    assert [(job.id, job.key) for job in found.rows] == [(1, "a"), (2, "b")]


@pytest_twisted.ensureDeferred
async def test_those_that_are_known_are_found_by_id(folder: Any, records: Any) -> None:
    store = await folder.open()
    await store.commit([JobsAdded([records.job(n) for n in range(1, 150)])])
    found = await store.read(ByIds([JobId(n) for n in (500, 149, 1, 70)]))
    assert [job.id for job in found.rows] == [1, 70, 149]
    assert list(found.ids) == [1, 70, 149]


@pytest_twisted.ensureDeferred
async def test_orphans_are_unfinished_jobs_that_end_with_their_session(
    folder: Any, records: Any, end: Any
) -> None:
    store = await folder.open()
    jobs = [records.job(n, orphans="cancel") for n in range(1, 6)]
    others = [records.job(6), records.job(7, orphans="cancel", session=b"t" * 16)]
    await store.commit([JobsAdded([*jobs, *others])])
    await store.commit([JobsEnded([end(jobs[0])])])
    assert (await store.read(Orphans(HERE, JobId(0), 9))).ids == [2, 3, 4, 5]
    assert (await store.read(Orphans(HERE, JobId(3), 1))).ids == [4]
