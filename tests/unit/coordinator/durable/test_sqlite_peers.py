"""Groups, sessions, workers and values that a store on disk knows when it is opened again."""

from __future__ import annotations

from typing import Any

import attrs
import pytest_twisted
from ampacity.coordinator.effects import (
    GroupForgotten,
    GroupSaved,
    Hold,
    JobsAdded,
    JobsEnded,
    Release,
    SessionForgotten,
    SessionSaved,
    WorkerForgotten,
    WorkerSaved,
)
from ampacity.coordinator.transitions import (
    FAILED,
    QUEUED,
    STATE_NAMES,
    SUCCEEDED,
)
from ampacity.protocol.ids import GroupId, JobId, SessionId
from ampacity.protocol.ports import Accepted

HERE = SessionId(b"h" * 16)


@pytest_twisted.ensureDeferred
async def test_groups_are_counted_by_the_latest_job_of_a_place(
    folder: Any, records: Any, end: Any
) -> None:
    store = await folder.open()
    group = records.group(2, size=3)
    group.name = "f"
    jobs = [records.job(n, group=group, place=n - 10) for n in (10, 11, 12)]
    again = records.job(20, group=group, place=1, changes={"retry_of": JobId(11)})
    await store.commit([GroupSaved(group), JobsAdded(jobs)])
    jobs[1].retried = JobId(20)
    ends = [end(jobs[0]), end(jobs[1], state=FAILED)]
    await store.commit([JobsEnded(ends), JobsAdded([again])])
    (kept,) = (await folder.again()).remembered.groups
    counts = [0] * len(STATE_NAMES)
    counts[QUEUED], counts[SUCCEEDED] = 2, 1
    assert kept == (2, "c", HERE, 7, "f", 3, 5.0, counts, 4, 10, 20)
    await folder.opened[0].commit([GroupForgotten(group)])
    assert [group.id for group in (await folder.again()).remembered.groups] == [2]  # has jobs


@pytest_twisted.ensureDeferred
async def test_an_empty_group_is_remembered_until_it_is_forgotten(
    folder: Any, records: Any
) -> None:
    store = await folder.open()
    group = records.group(1)
    await store.commit([GroupSaved(group)])
    group.size = 0
    await store.commit([GroupSaved(group)])
    store = await folder.again()
    assert [(g.size, g.jobs, g.first) for g in store.remembered.groups] == [(0, 0, None)]
    await store.commit([GroupForgotten(group)])
    assert (await folder.again()).remembered.groups == []


@pytest_twisted.ensureDeferred
async def test_sessions_keep_their_numbers_and_last_answers(folder: Any, records: Any) -> None:
    store = await folder.open()
    session = records.session()
    answers = {
        n: Accepted(
            ids=((n, 2), (n + 5, 1)),
            group=None if n % 2 else GroupId(4),
            warning="w" if n == 9 else None,
        )
        for n in range(1, 200)
    }
    for n, answer in answers.items():
        session.next_sequence, session.seen = n + 1, {n + 3, n + 9}
        await store.commit([SessionSaved(session, n, answer)])
    (kept,) = (await folder.again()).remembered.sessions
    assert (kept.id, kept.client, kept.next_sequence) == (HERE, "c", 200)
    assert sorted(kept.seen) == [202, 208]
    assert kept.answers == {n: answers[n] for n in range(72, 200)}


@pytest_twisted.ensureDeferred
async def test_a_forgotten_session_may_come_again(folder: Any, records: Any) -> None:
    store = await folder.open()
    session, answer = records.session(), Accepted(ids=((1, 1),))
    await store.commit([SessionSaved(session, 1, answer), SessionSaved(session, 2, answer)])
    await store.commit([SessionForgotten(session), SessionSaved(session, 3, answer)])
    store = await folder.again()
    assert [list(kept.answers) for kept in store.remembered.sessions] == [[3]]
    await store.commit([SessionSaved(session, 4, answer), SessionForgotten(session)])
    assert (await folder.again()).remembered.sessions == []
    await folder.close()
    assert folder.execute("SELECT count(*) FROM answers") == [(0,)]


@pytest_twisted.ensureDeferred
async def test_workers_are_remembered_until_they_are_forgotten(folder: Any, records: Any) -> None:
    store = await folder.open()
    away, local = records.worker("away"), records.worker("local", local=True)
    await store.commit([WorkerSaved(away), WorkerSaved(local)])
    store = await folder.again()
    kept = {worker.name: worker for worker in store.remembered.workers}
    assert {name: worker.local for name, worker in kept.items()} == {"away": False, "local": True}
    assert kept["away"].info == attrs.evolve(away.info)
    assert kept["away"].since == 3.5
    await store.commit([WorkerForgotten(away)])
    assert [w.name for w in (await folder.again()).remembered.workers] == ["local"]


@pytest_twisted.ensureDeferred
async def test_references_to_blobs_are_counted(folder: Any) -> None:
    store = await folder.open()
    one, two = b"1" * 32, b"2" * 32
    await store.commit([Hold([one, one, two])])
    await store.commit([Hold([two]), Release([one])])
    store = await folder.again()
    assert store.remembered.blobs == {one: 1, two: 2}
    await store.commit([Release([one, two])])
    assert (await folder.again()).remembered.blobs == {two: 1}


@pytest_twisted.ensureDeferred
async def test_usage_is_told(folder: Any) -> None:
    store = await folder.open()
    await store.commit([])
    usage = store.usage()
    assert usage["folder"] == str(folder.path)
    assert usage["commits"] == 1
    assert usage["schema"] == "0002"
