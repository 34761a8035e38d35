"""What a store remembers of its own rows, so as not to read them at each commit."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from ampacity.coordinator import writing
from ampacity.coordinator.effects import (
    AttemptsMade,
    JobsAdded,
    JobsChanged,
    JobsEnded,
    JobsForgotten,
    JobsTaken,
    SessionForgotten,
    SessionSaved,
)
from ampacity.coordinator.kept import Oldest
from ampacity.coordinator.transitions import FAILED, QUEUED, SENT, SUCCEEDED
from ampacity.protocol.errors import StorageFull
from ampacity.protocol.ids import Attempt, JobId
from ampacity.protocol.ports import Accepted

SPECS = "SELECT jobs FROM specs ORDER BY jobs"


@pytest_twisted.ensureDeferred
async def test_jobs_of_a_spec_are_counted(folder: Any, records: Any, end: Any) -> None:
    store = await folder.open()
    first, second, other = records.job(1), records.job(2), records.job(3, target="m:g")
    await store.commit([JobsAdded([first])])
    await store.commit([JobsAdded([second, other])])
    store = await folder.again()
    await store.commit([JobsEnded([end(first), end(other)]), JobsForgotten([JobId(1), JobId(3)])])
    await store.commit([JobsAdded([records.job(4), records.job(5, target="m:g")])])
    await store.commit([JobsForgotten([JobId(5)])])
    await folder.close()
    assert folder.execute(SPECS) == [(2,)]


@pytest_twisted.ensureDeferred
async def test_jobs_of_a_commit_that_failed_are_not_counted(
    folder: Any, records: Any, monkeypatch: Any
) -> None:
    store = await folder.open()
    await store.commit([JobsAdded([records.job(1)])])

    def full(batch: Any) -> None:
        raise StorageFull

    with monkeypatch.context() as patch:
        patch.setattr(store._opened.writer, "_rest", full)
        with pytest.raises(StorageFull):
            await store.commit([JobsAdded([records.job(2), records.job(3, target="m:g")])])
    await store.commit([JobsAdded([records.job(2), records.job(3, target="m:g")])])
    await folder.close()
    assert folder.execute(SPECS) == [(1,), (2,)]


@pytest_twisted.ensureDeferred
async def test_counts_that_are_not_remembered_are_read(
    folder: Any, records: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(writing, "SPECS_COUNTED", 1)
    store = await folder.open()
    for number in range(1, 7):
        await store.commit([JobsAdded([records.job(number, target=f"m:f{number % 3}")])])
    await folder.close()
    assert folder.execute(SPECS) == [(2,), (2,), (2,)]


@pytest_twisted.ensureDeferred
async def test_the_last_answers_of_a_session_are_kept(folder: Any, records: Any) -> None:
    store = await folder.open()
    session = records.session()
    for number in range(1, 400):
        await store.commit([SessionSaved(session, number, Accepted(ids=((number, 1),)))])
        if number == 250:
            store = await folder.again()
    store = await folder.again()
    (kept,) = store.remembered.sessions
    assert sorted(kept.answers) == list(range(400 - writing.ANSWERS_KEPT, 400))
    assert await _answers(store) < writing.ANSWERS_KEPT + writing.ANSWERS_MORE
    await store.commit([SessionForgotten(session)])
    assert await _answers(store) == 0


async def _answers(store: Any) -> int:
    file = store._opened.file
    count = "SELECT count(*) FROM answers"
    ((found,),) = await store._in_thread(lambda: file.connection.execute(count).fetchall())
    return int(found)


# -- updates of few columns ------------------------------------------------------------------------


def given(records: Any, *jobs: Any) -> AttemptsMade:
    """These jobs, with a worker now."""
    worker = records.worker()
    for job in jobs:
        job.state, job.worker, job.attempt = SENT, worker, Attempt(1, 1)
    return AttemptsMade(worker, list(jobs))


@pytest_twisted.ensureDeferred
async def test_each_change_of_a_job_is_kept_whole(folder: Any, records: Any, end: Any) -> None:
    store = await folder.open()
    jobs = [records.job(n) for n in range(1, 7)]
    one, two, three, four, five, six = jobs
    await store.commit([JobsAdded(jobs)])
    await store.commit([given(records, *jobs)])
    assert {(k.state, k.worker, k.damage) for k in await store.jobs(IDS)} == {(SENT, "w1", "")}
    two.began = three.began = 7.0
    five.retried, six.taken = JobId(9), True
    three.state, three.worker = QUEUED, None
    writes = [
        JobsChanged([two, three]),
        given(records, three),
        JobsEnded([end(one), end(two), end(four, state=FAILED), end(five), end(six)]),
        JobsTaken([JobId(2), JobId(6)]),
    ]
    await store.commit(writes)
    store = await folder.again()
    kept = await store.jobs(IDS)
    assert [k.state for k in kept] == [
        SUCCEEDED,
        SUCCEEDED,
        SENT,
        FAILED,
        SUCCEEDED,
        SUCCEEDED,
    ]
    assert [k.taken for k in kept] == [False, True, False, False, False, True]
    assert [k.ended for k in kept] == [101.0, 102.0, None, 104.0, 105.0, 106.0]
    assert [k.began for k in kept] == [None, 7.0, 7.0, None, None, None]
    assert [k.retried for k in kept] == [None, None, None, None, 9, None]
    assert not any(k.damage for k in kept)
    assert (await store.read(Oldest(True, 9))).ids == [2, 6]
    assert (await store.read(Oldest(False, 9))).ids == [1, 4, 5]


IDS = [JobId(n) for n in range(1, 7)]
