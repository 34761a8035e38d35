"""Stores in a folder that can be opened again, and records to write to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from ampacity.coordinator.effects import JobsAdded, JobsEnded, Outcome
from ampacity.coordinator.records import (
    ClientRecord,
    CostRecord,
    GroupRecord,
    JobRecord,
    SessionRecord,
    SpecRecord,
    WorkerRecord,
)
from ampacity.coordinator.sqlite import SqliteStore
from ampacity.coordinator.transitions import SUCCEEDED
from ampacity.protocol.ids import ClientId, GroupId, JobId, SessionId, WorkerId
from ampacity.protocol.jobs import JobSpec, pack_spec
from ampacity.protocol.ports import WorkerInfo
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool


@attrs.define
class Records:
    """Makes records as the scheduler does."""

    clients: dict[str, ClientRecord] = attrs.field(factory=dict)
    specs: dict[bytes, SpecRecord] = attrs.field(factory=dict)

    def client(self, name: str = "c") -> ClientRecord:
        return self.clients.setdefault(name, ClientRecord(ClientId(name)))

    def spec(self, **fields: Any) -> SpecRecord:
        spec = JobSpec(**{"kind": "import", "target": "m:f", **fields})
        packed = pack_spec(spec)
        return self.specs.setdefault(packed, SpecRecord(packed, spec, CostRecord()))

    def group(self, number: int, client: str = "c", size: int | None = None) -> GroupRecord:
        group = GroupRecord(GroupId(number), self.client(client), SessionId(b"h" * 16), 7, 5.0)
        group.size = size
        return group

    def session(self, name: bytes = b"h" * 16, client: str = "c") -> SessionRecord:
        return SessionRecord(SessionId(name), self.client(client))

    def worker(self, name: str = "w1", local: bool = False) -> WorkerRecord:
        info = WorkerInfo(
            name=name,
            incarnation=b"i" * 16,
            slots=4,
            python="3.11",
            host="h",
            software="0.1",
            pid=99,
        )
        lane: Any = None
        return WorkerRecord(WorkerId(name), info, lane, 3.5, local)

    def job(
        self,
        number: int,
        *,
        client: str = "c",
        session: bytes | None = b"h" * 16,
        payload: Any = b"payload",
        key: str | None = None,
        group: GroupRecord | None = None,
        place: int | None = None,
        submitted: float = 1.5,
        changes: dict[str, Any] | None = None,
        **spec: Any,
    ) -> JobRecord:
        job = JobRecord(
            JobId(number),
            self.client(client),
            None if session is None else SessionId(session),
            self.spec(**spec),
            payload,
            key,
            group,
            place,
            submitted,
        )
        for name, value in (changes or {}).items():
            setattr(job, name, value)
        return job


@pytest.fixture
def records() -> Records:
    return Records()


def ended(
    job: JobRecord, body: bytes = b"body", log: bytes = b"", state: int = SUCCEEDED
) -> Outcome:
    job.state = state
    job.ended = 100.0 + job.id
    job.kept = len(body) + len(log)
    return Outcome(job, body, log)


async def add_ended(store: SqliteStore, jobs: Sequence[JobRecord]) -> None:
    await store.commit([JobsAdded(list(jobs))])
    await store.commit([JobsEnded([ended(job, b"body of %d" % job.id) for job in jobs])])


@attrs.define
class Folder:
    """A store's folder, and the stores that were opened there."""

    path: Path
    opened: list[SqliteStore] = attrs.field(factory=list)

    async def open(self, **options: Any) -> SqliteStore:
        from twisted.internet import reactor as installed

        reactor: Any = installed
        defer = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        options.setdefault("synchronous", "NORMAL")
        store = await SqliteStore.open(reactor, self.path, defer, **options)
        self.opened.append(store)
        return store

    async def again(self, **options: Any) -> SqliteStore:
        """Close what is open, and open it again."""
        await self.close()
        return await self.open(**options)

    async def close(self) -> None:
        while self.opened:
            await self.opened.pop().close()

    async def turn(self) -> None:
        """Let the reactor go on for a moment."""
        from twisted.internet import reactor as installed

        reactor: Any = installed
        await deferLater(reactor, 0.001)

    @property
    def database(self) -> Path:
        return self.path / "queue.db"

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Do this to the closed file."""
        with closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            return connection.execute(sql, parameters).fetchall()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path / "store")
    yield folder
    from twisted.internet.defer import ensureDeferred

    pytest_twisted.blockon(ensureDeferred(folder.close()))


@pytest.fixture
def end() -> Callable[..., Outcome]:
    """A job's outcome; the job has it then."""
    return ended


@pytest.fixture
def add_ended_jobs() -> Callable[..., Awaitable[None]]:
    """Commit jobs, and then their ends."""
    return add_ended
