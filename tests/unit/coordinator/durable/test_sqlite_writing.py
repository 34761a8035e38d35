"""What a store remembers of its own rows, so as not to read them at each commit."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from ampacity.coordinator import writing
from ampacity.coordinator.effects import (
    JobsAdded,
    JobsEnded,
    JobsForgotten,
    SessionForgotten,
    SessionSaved,
)
from ampacity.protocol.errors import StorageFull
from ampacity.protocol.ids import JobId
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
