"""What every store promises, on each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity.coordinator.effects import (
    JobsAdded,
    JobsEnded,
    JobsForgotten,
    JobsTaken,
    Outcome,
    SessionForgotten,
)
from ampacity.coordinator.kept import Backlog, ByIds, Found, Oldest, Stored
from ampacity.coordinator.records import (
    ClientRecord,
    CostRecord,
    JobRecord,
    SessionRecord,
    SpecRecord,
)
from ampacity.coordinator.sqlite import SqliteStore
from ampacity.coordinator.store import MemoryStore, Store
from ampacity.coordinator.transitions import FAILED, SUCCEEDED
from ampacity.protocol.ids import ClientId, JobId, SessionId
from ampacity.protocol.jobs import JobSpec, pack_spec
from ampacity.protocol.outcomes import Ending
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool

HERE, THERE = SessionId(b"h" * 16), SessionId(b"t" * 16)
CLIENT = ClientRecord(ClientId("c"))


def in_memory(folder: Path) -> Store:
    return MemoryStore()


def on_disk(folder: Path) -> Store:
    from twisted.internet import reactor as installed

    reactor: Any = installed
    defer = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    store: Store = pytest_twisted.blockon(SqliteStore.open(reactor, folder, defer))
    return store


STORES: dict[str, Callable[[Path], Store]] = {"memory": in_memory, "sqlite": on_disk}


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = STORES[request.param](tmp_path / "store")
    yield store
    pytest_twisted.blockon(maybeDeferred(store.close))


def job(number: int, session: SessionId | None = HERE) -> JobRecord:
    spec = JobSpec(kind="import", target="m:f")
    record = SpecRecord(pack_spec(spec), spec, CostRecord())
    return JobRecord(JobId(number), CLIENT, session, record, b"", None, None, None, 1.0)


def ended(job: JobRecord, body: bytes = b"", log: bytes = b"", state: int = SUCCEEDED) -> Outcome:
    job.state = state
    job.ended = float(job.id)
    return Outcome(job, body, log)


async def commit(store: Store, *writes: Any) -> None:
    await maybeDeferred(store.commit, writes)


async def add_ended(store: Store, *jobs: JobRecord) -> None:
    await commit(store, JobsAdded(list(jobs)))
    await commit(store, JobsEnded([ended(job) for job in jobs]))


async def told(found: Any) -> Any:
    return await found if isinstance(found, Deferred) else found


async def outcomes(store: Store, *jobs: int) -> list[Stored | None]:
    found: list[Stored | None] = await told(store.outcomes([JobId(j) for j in jobs]))
    return found


async def ids(store: Store, question: Any) -> Sequence[int]:
    found: Found = await told(store.read(question))
    return list(found.ids)


def test_a_store_has_an_identity_and_a_term(store: Store) -> None:
    assert len(store.id) == 16
    assert store.term >= 1


def test_two_stores_have_different_identities(store: Store) -> None:
    assert store.id != MemoryStore().id


def test_there_is_room_at_first(store: Store) -> None:
    assert store.room() == ""


@pytest_twisted.ensureDeferred
async def test_a_job_that_has_not_ended_has_no_outcome(store: Store) -> None:
    await commit(store, JobsAdded([job(1)]))
    assert await outcomes(store, 1, 2) == [None, None]


@pytest_twisted.ensureDeferred
async def test_outcomes_are_read_in_the_order_asked_for(store: Store) -> None:
    jobs = [job(1), job(2)]
    ends = [ended(jobs[0], b"one", b"log"), ended(jobs[1], b"two", state=FAILED)]
    await commit(store, JobsAdded(jobs), JobsEnded(ends))
    one, two = Stored(Ending.SUCCEEDED, b"one", b"log"), Stored(Ending.FAILED, b"two", b"")
    assert await outcomes(store, 2, 1, 2) == [two, one, two]


@pytest_twisted.ensureDeferred
async def test_nothing_asked_for_is_nothing_answered(store: Store) -> None:
    assert await outcomes(store) == []
    assert await ids(store, ByIds([])) == []


@pytest_twisted.ensureDeferred
async def test_records_are_read_before_commit_returns(store: Store) -> None:
    first = job(1)
    done = maybeDeferred(store.commit, [JobsAdded([first]), JobsEnded([ended(first, b"one")])])
    first.state = FAILED
    await done
    assert await outcomes(store, 1) == [Stored(Ending.SUCCEEDED, b"one", b"")]


@pytest_twisted.ensureDeferred
async def test_a_question_sees_the_commits_before_it(store: Store) -> None:
    first = job(1)
    done = maybeDeferred(store.commit, [JobsAdded([first]), JobsEnded([ended(first, b"one")])])
    read = ensureDeferred(outcomes(store, 1))
    assert await read == [Stored(Ending.SUCCEEDED, b"one", b"")]
    await done


@pytest_twisted.ensureDeferred
async def test_a_session_is_owed_what_has_ended_and_was_not_taken(store: Store) -> None:
    await add_ended(store, *[job(n) for n in (5, 3, 4, 1, 2)], job(6, THERE), job(7, None))
    await commit(store, JobsAdded([job(8)]), JobsTaken([JobId(2)]))
    assert await ids(store, Backlog(HERE, JobId(0), 10)) == [1, 3, 4, 5]
    assert await ids(store, Backlog(HERE, JobId(1), 2)) == [3, 4]
    assert await ids(store, Backlog(THERE, JobId(0), 10)) == [6]
    assert await ids(store, Backlog(SessionId(b"n" * 16), JobId(0), 10)) == []


@pytest_twisted.ensureDeferred
async def test_the_oldest_are_those_that_ended_first(store: Store) -> None:
    await add_ended(store, job(1), job(2), job(3), job(4, None))
    await commit(store, JobsTaken([JobId(1)]))
    await commit(store, JobsTaken([JobId(3)]))
    assert await ids(store, Oldest(taken=False, limit=10)) == [2, 4]
    assert await ids(store, Oldest(taken=False, limit=1)) == [2]
    assert await ids(store, Oldest(taken=True, limit=10)) == [1, 3]


@pytest_twisted.ensureDeferred
async def test_what_is_forgotten_is_gone(store: Store) -> None:
    first, second = job(1), job(2)
    await add_ended(store, first, second)
    await commit(store, JobsTaken([JobId(1)]))
    await commit(store, JobsForgotten([JobId(1), JobId(2)]))
    assert await outcomes(store, 1, 2) == [None, None]
    assert await ids(store, Oldest(taken=True, limit=10)) == []
    assert await ids(store, Oldest(taken=False, limit=10)) == []
    assert await ids(store, Backlog(HERE, JobId(0), 10)) == []


@pytest_twisted.ensureDeferred
async def test_what_a_forgotten_session_was_owed_is_kept(store: Store) -> None:
    await add_ended(store, job(1))
    await commit(store, SessionForgotten(SessionRecord(HERE, CLIENT)))
    assert await ids(store, Oldest(taken=False, limit=10)) == [1]
    assert await outcomes(store, 1) == [Stored(Ending.SUCCEEDED, b"", b"")]


@pytest_twisted.ensureDeferred
async def test_it_can_be_closed(store: Store) -> None:
    await maybeDeferred(store.close)
