"""What every store promises, on each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from ampacity.coordinator.effects import JobsAdded, JobsEnded, JobsForgotten, Outcome
from ampacity.coordinator.records import ClientRecord, CostRecord, JobRecord, SpecRecord
from ampacity.coordinator.store import MemoryStore, Store, Stored
from ampacity.protocol.ids import ClientId, JobId
from ampacity.protocol.jobs import JobSpec, pack_spec
from twisted.internet.defer import Deferred, maybeDeferred

STORES: dict[str, Callable[[], Store]] = {"memory": MemoryStore}


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest) -> Store:
    return STORES[request.param]()


def job(number: int) -> JobRecord:
    spec = JobSpec(kind="import", target="m:f")
    record = SpecRecord(pack_spec(spec), spec, CostRecord())
    client = ClientRecord(ClientId("c"))
    return JobRecord(JobId(number), client, None, record, b"", None, None, None, 1.0)


async def commit(store: Store, *writes: Any) -> None:
    await maybeDeferred(store.commit, writes)


async def _told(found: Any) -> Any:
    return await found if isinstance(found, Deferred) else found


async def outcomes(store: Store, *jobs: int) -> list[Stored | None]:
    found: list[Stored | None] = await _told(store.outcomes([JobId(j) for j in jobs]))
    return found


def test_a_store_has_an_identity_and_a_term(store: Store) -> None:
    assert len(store.id) == 16
    assert store.term >= 1


def test_two_stores_have_different_identities(store: Store) -> None:
    assert store.id != MemoryStore().id


@pytest_twisted.ensureDeferred
async def test_a_job_that_has_not_ended_has_no_outcome(store: Store) -> None:
    await commit(store, JobsAdded([job(1)]))
    assert await outcomes(store, 1, 2) == [None, None]


@pytest_twisted.ensureDeferred
async def test_outcomes_are_read_in_the_order_asked_for(store: Store) -> None:
    jobs = [job(1), job(2)]
    ended = [Outcome(jobs[0], b"one", b"log"), Outcome(jobs[1], b"two", b"")]
    await commit(store, JobsAdded(jobs), JobsEnded(ended))
    assert await outcomes(store, 2, 1) == [Stored(b"two", b""), Stored(b"one", b"log")]


@pytest_twisted.ensureDeferred
async def test_what_is_forgotten_is_gone(store: Store) -> None:
    first = job(1)
    await commit(store, JobsAdded([first]), JobsEnded([Outcome(first, b"one", b"")]))
    await commit(store, JobsForgotten([JobId(1)]))
    assert await outcomes(store, 1) == [None]


@pytest_twisted.ensureDeferred
async def test_it_can_be_closed(store: Store) -> None:
    await maybeDeferred(store.close)
