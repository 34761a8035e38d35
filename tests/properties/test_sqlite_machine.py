"""The store on disk against a dictionary: random batches, questions, and openings of it again.

The machine writes as the scheduler does: records that it changes between commits, several writes
about one job in a batch, ids that only go up.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest_twisted
from ampacity.coordinator.effects import (
    AttemptsMade,
    JobsAdded,
    JobsChanged,
    JobsEnded,
    JobsForgotten,
    JobsTaken,
    Outcome,
    Write,
)
from ampacity.coordinator.kept import Backlog, ByKeys, Found, Listing, Oldest, Stored
from ampacity.coordinator.records import (
    ClientRecord,
    CostRecord,
    GroupRecord,
    JobRecord,
    SpecRecord,
    WorkerRecord,
)
from ampacity.coordinator.sqlite import SqliteStore
from ampacity.coordinator.transitions import (
    ENDED,
    FAILED,
    QUEUED,
    RUNNING,
    SENT,
    STATE_NAMES,
    SUCCEEDED,
    ending_of,
)
from ampacity.protocol.ids import Attempt, ClientId, GroupId, JobId, SessionId, WorkerId
from ampacity.protocol.jobs import JobSpec, pack_spec
from ampacity.protocol.ports import WorkerInfo
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.internet.threads import deferToThreadPool

CLIENTS = [ClientRecord(ClientId(name)) for name in ("c", "d")]
SESSIONS = [None, SessionId(b"h" * 16), SessionId(b"t" * 16)]
GROUPS = [GroupRecord(GroupId(n), CLIENTS[0], SessionId(b"h" * 16), n, 1.0) for n in (1, 2)]
_INFO = WorkerInfo(name="w", incarnation=b"i", slots=1, python="3.11", host="h", software="0")
_LANE: Any = None
WORKER = WorkerRecord(WorkerId("w"), _INFO, _LANE, 0.0)


def _spec(name: str) -> SpecRecord:
    spec = JobSpec(kind="import", target="m:f", name=name)
    return SpecRecord(pack_spec(spec), spec, CostRecord())


SPECS = [_spec("one"), _spec("two")]


def wait(deferred: Any) -> Any:
    return pytest_twisted.blockon(deferred)


class StoreMachine(RuleBasedStateMachine):
    """A store, and what it has to hold."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.jobs: dict[JobId, JobRecord] = {}
        self.outcomes: dict[JobId, Stored] = {}
        self.writes: list[Write] = []
        self.next = 1
        self.time = 1.0
        self.open()

    def open(self) -> None:
        from twisted.internet import reactor as installed

        reactor: Any = installed
        defer = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        folder = Path(self.folder.name) / "store"
        opened = SqliteStore.open(reactor, folder, defer, synchronous="NORMAL")
        self.store: SqliteStore = wait(opened)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            wait(self.store.close())
            self.folder.cleanup()

    # -- writes -----------------------------------------------------------------------------------

    @rule(
        count=st.integers(1, 70),
        client=st.sampled_from(CLIENTS),
        session=st.sampled_from(SESSIONS),
        spec=st.sampled_from(SPECS),
        group=st.sampled_from([None, *GROUPS]),
        payload=st.binary(max_size=20),
        keyed=st.booleans(),
    )
    def add(
        self,
        count: int,
        client: ClientRecord,
        session: SessionId | None,
        spec: SpecRecord,
        group: GroupRecord | None,
        payload: bytes,
        keyed: bool,
    ) -> None:
        jobs = []
        for number in range(self.next, self.next + count):
            key = f"k{number}" if keyed else None
            place = None if group is None else number
            identity = JobId(number)
            jobs.append(
                JobRecord(identity, client, session, spec, payload, key, group, place, self.time)
            )
        self.next += count
        self.jobs.update((job.id, job) for job in jobs)
        self.writes.append(JobsAdded(jobs))

    def some(self, chance: Any, *states: int) -> list[JobRecord]:
        fitting = [job for job in self.jobs.values() if job.state in states]
        return [job for job in fitting if chance.random() < 0.5]

    @rule(chance=st.randoms(use_true_random=False))
    def assign(self, chance: Any) -> None:
        jobs = self.some(chance, QUEUED)
        for job in jobs:
            job.state, job.worker, job.attempt = SENT, WORKER, Attempt(1, chance.randrange(9))
        self.writes.append(AttemptsMade(WORKER, jobs))

    @rule(chance=st.randoms(use_true_random=False))
    def change(self, chance: Any) -> None:
        jobs = self.some(chance, SENT, RUNNING)
        for job in jobs:
            job.state = chance.choice([QUEUED, RUNNING])
            job.note((self.time, "changed", str(chance.random())))
        self.writes.append(JobsChanged(jobs))

    @rule(chance=st.randoms(use_true_random=False), body=st.binary(max_size=9))
    def end(self, chance: Any, body: bytes) -> None:
        outcomes = []
        for job in self.some(chance, SENT, RUNNING):
            self.time += 1.0
            job.state, job.ended, job.kept = chance.choice([SUCCEEDED, FAILED]), self.time, 5
            outcomes.append(Outcome(job, body, b"log"))
            ending = ending_of(job.state)
            assert ending is not None
            self.outcomes[job.id] = Stored(ending, body, b"log")
        self.writes.append(JobsEnded(outcomes))

    @rule(chance=st.randoms(use_true_random=False), hot=st.booleans())
    def take(self, chance: Any, hot: bool) -> None:
        jobs = self.some(chance, SUCCEEDED, FAILED)
        for job in jobs:
            job.taken = True
        if hot:
            self.writes.append(JobsChanged(jobs))
        self.writes.append(JobsTaken([job.id for job in jobs]))

    @rule(chance=st.randoms(use_true_random=False))
    def forget(self, chance: Any) -> None:
        jobs = self.some(chance, SUCCEEDED, FAILED)
        for job in jobs:
            del self.jobs[job.id]
            del self.outcomes[job.id]
        self.writes.append(JobsForgotten([job.id for job in jobs]))

    def commit(self) -> None:
        writes, self.writes = self.writes, []
        wait(self.store.commit(writes))

    # -- what is there ----------------------------------------------------------------------------

    @rule()
    def commit_now(self) -> None:
        self.commit()

    @rule()
    def open_again(self) -> None:
        self.commit()
        term, identity = self.store.term, self.store.id
        wait(self.store.close())
        self.open()
        assert (self.store.term, self.store.id) == (term + 1, identity)
        self.compare_remembered()

    def compare_remembered(self) -> None:
        remembered = self.store.remembered
        jobs = self.jobs.values()
        counts = [sum(job.state == n for job in jobs) for n in range(len(STATE_NAMES))]
        assert list(remembered.counts) == counts
        assert remembered.next_job == self.next
        unfinished = [job for job in jobs if job.state < ENDED]
        assert remembered.pending_bytes == sum(len(job.payload) for job in unfinished)
        for taken, sums in ((True, remembered.taken), (False, remembered.untaken)):
            ended = [job for job in jobs if job.state >= ENDED and job.taken == taken]
            assert sums == (len(ended), sum(job.kept for job in ended))
        queued = [n for run in remembered.queued for n in range(run.first, run.first + run.jobs)]
        assert queued == sorted(job.id for job in jobs if job.state == QUEUED)
        live = sorted(job.id for job in jobs if job.state in (SENT, RUNNING))
        assert [job.id for job in remembered.live] == live

    @rule()
    def read_all(self) -> None:
        self.commit()
        kept = wait(self.store.jobs([JobId(n) for n in range(1, self.next)]))
        assert [job.id for job in kept] == sorted(self.jobs)
        for found in kept:
            job = self.jobs[found.id]
            assert not found.damage
            assert (found.state, found.taken, found.story) == (job.state, job.taken, job.story)
            assert (found.payload, found.key, found.attempt) == (job.payload, job.key, job.attempt)
            assert (found.session, found.client, found.ended) == (
                job.owner,
                job.client.id,
                job.ended,
            )
        found = wait(self.store.outcomes(list(self.jobs)))
        assert found == [self.outcomes.get(number) for number in self.jobs]

    @rule(
        session=st.sampled_from(SESSIONS[1:]), after=st.integers(0, 100), limit=st.integers(1, 50)
    )
    def backlog(self, session: SessionId, after: int, limit: int) -> None:
        self.commit()
        owed = sorted(
            job.id
            for job in self.jobs.values()
            if job.owner == session and job.state >= ENDED and not job.taken and job.id > after
        )
        found: Found = wait(self.store.read(Backlog(session, JobId(after), limit)))
        assert list(found.ids) == owed[:limit]

    @rule(taken=st.booleans(), limit=st.integers(1, 50))
    def oldest(self, taken: bool, limit: int) -> None:
        self.commit()
        ended = [job for job in self.jobs.values() if job.state >= ENDED and job.taken == taken]
        ended.sort(key=lambda job: job.ended or 0.0)
        found: Found = wait(self.store.read(Oldest(taken, limit)))
        assert list(found.ids) == [job.id for job in ended[:limit]]

    @rule(chance=st.randoms(use_true_random=False))
    def by_keys(self, chance: Any) -> None:
        self.commit()
        keys = [f"k{chance.randrange(1, self.next + 1)}" for _ in range(70)]
        found: Found = wait(self.store.read(ByKeys(CLIENTS[0].id, keys)))
        expected = {
            job.id for job in self.jobs.values() if job.key in keys and job.client is CLIENTS[0]
        }
        assert set(found.ids) == expected

    @rule(state=st.sampled_from([QUEUED, SUCCEEDED, FAILED]), newest=st.booleans())
    def page(self, state: int, newest: bool) -> None:
        self.commit()
        listing = Listing(CLIENTS[0].id, 10, newest=newest, states=frozenset({state}))
        fitting = sorted(
            (
                job.id
                for job in self.jobs.values()
                if job.state == state and job.client is CLIENTS[0]
            ),
            reverse=newest,
        )
        assert wait(self.store.page(listing)).ids == fitting[:10]

    @invariant()
    def it_is_not_broken(self) -> None:
        assert not hasattr(self, "store") or self.store.room() == ""


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
