"""Jobs over real sockets, between a driver and peers that are written out here word by word."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from ampacity.coordinator.credentials import Credentials
from ampacity.coordinator.driver import Driver
from ampacity.coordinator.service import CoordinatorService
from ampacity.protocol import commands, limits
from ampacity.protocol.access import AccessFolder, StateFolder
from ampacity.protocol.addresses import Address
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.connection import Connection
from ampacity.protocol.dialing import dial
from ampacity.protocol.errors import NoSuchJob
from ampacity.protocol.jobs import (
    Assignment,
    BlobRef,
    JobSpec,
    Submission,
    pack_spec,
    pack_submissions,
    unpack_assignments,
)
from ampacity.protocol.limits import FRAME_JOBS
from ampacity.protocol.outcomes import (
    Delivery,
    Ending,
    Outcome,
    Report,
    pack_outcome,
    pack_reports,
    unpack_deliveries,
    unpack_outcome,
)
from ampacity.protocol.ports import WorkerInfo
from ampacity.protocol.transfers import download, upload
from twisted.internet import task, threads
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.protocols import amp

SPEC = pack_spec(JobSpec(kind="import", target="math:factorial"))


class Worker(amp.CommandLocator):
    """Doubles the payload of every job, unless it is told to wait."""

    def __init__(self) -> None:
        self.connection: Any = None
        self.waits = False
        self.held: DeferredQueue[list[Assignment]] = DeferredQueue()

    @commands.Assign.responder
    def assign(self, jobs: bytes) -> dict[str, Any]:
        assignments = unpack_assignments(jobs)
        if self.waits:
            self.held.put(assignments)
        else:
            self.finish(assignments)
        return {}

    def finish(self, assignments: list[Assignment]) -> None:
        frame = pack_reports([_doubled(assignment) for assignment in assignments])
        self.connection.call(commands.Finished, reports=frame).addErrback(lambda _: None)


def _doubled(assignment: Assignment) -> Report:
    assert isinstance(assignment.payload, bytes)
    body = pack_outcome(Outcome(value=assignment.payload * 2))
    return Report(assignment.job, assignment.attempt, Ending.SUCCEEDED, 1.0, 0.1, body)


class Client(amp.CommandLocator):
    """Keeps what is delivered."""

    def __init__(self) -> None:
        self.deliveries: DeferredQueue[Delivery] = DeferredQueue()

    @commands.Delivered.responder
    def delivered(self, outcomes: bytes) -> dict[str, Any]:
        for delivery in unpack_deliveries(outcomes):
            self.deliveries.put(delivery)
        return {}

    async def values(self, count: int) -> dict[int, Any]:
        deliveries = [await self.deliveries.get() for _ in range(count)]
        return {d.job: unpack_outcome(d.body).value for d in deliveries}


@attrs.define(eq=False)
class Cluster:
    reactor: Any
    service: CoordinatorService
    driver: Driver
    access: AccessFolder
    connections: list[Connection] = attrs.field(factory=list)

    async def connect(self, role: Any, locator: Any, tcp: bool) -> Connection:
        address: Any = Address(path=self.access.socket)
        if tcp:
            address = self.service.join_line(role)
        greeted = await dial(self.reactor, address, role, None, locator)
        self.connections.append(greeted.connection)
        return greeted.connection

    async def client(self, tcp: bool = True, session: bytes = b"s" * 16) -> tuple[Client, Any]:
        client = Client()
        connection = await self.connect("client", client, tcp)
        await connection.call(commands.OpenSession, session=session)
        return client, connection

    async def worker(self, tcp: bool = True, name: str = "box", slots: int = 2) -> Worker:
        worker = Worker()
        worker.connection = await self.connect("worker", worker, tcp)
        info = WorkerInfo(
            name=name,
            incarnation=name.encode().ljust(16),
            slots=slots,
            python="3.11",
            host="here",
            software="0.1.0",
        )
        await worker.connection.call(commands.Join, info=attrs.asdict(info), held=[])
        return worker


@pytest_twisted.async_yield_fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    reactor: Any = importlib.import_module("twisted.internet.reactor")
    defer = partial(threads.deferToThreadPool, reactor, reactor.getThreadPool())
    driver = Driver(reactor, BlobFolder(tmp_path / "blobs", defer))
    await driver.blobs.start()
    driver.start()
    access = AccessFolder(tmp_path / "access")
    credentials = Credentials(StateFolder(tmp_path / "state"))
    service = CoordinatorService(reactor, driver, access, credentials, ["tcp:127.0.0.1:0"])
    service.startService()
    await service.ready
    made = Cluster(reactor, service, driver, access)
    yield made
    for connection in made.connections:
        if connection.lost is None:
            connection.close()
            await _lost(connection)
    await service.stopService()
    await driver.stop()


async def _lost(connection: Connection) -> None:
    gone: Deferred[None] = Deferred()
    connection.on_lost(lambda _: gone.callback(None))
    await gone


async def submit(connection: Any, sequence: int, *payloads: Any) -> Any:
    frame = pack_submissions([Submission(SPEC, payload) for payload in payloads])
    return await connection.call(commands.Submit, sequence=sequence, group=None, jobs=frame)


async def until(condition: Callable[[], bool]) -> None:
    """Turns of the reactor, until something holds."""
    reactor: Any = importlib.import_module("twisted.internet.reactor")
    while not condition():
        await task.deferLater(reactor, 0.005, lambda: None)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("tcp", [True, False])
async def test_jobs_go_to_a_worker_and_come_back(cluster: Cluster, tcp: bool) -> None:
    await cluster.worker(tcp)
    client, connection = await cluster.client(tcp)
    expected = {}
    for sequence in range(1, 9):
        accepted = await submit(connection, sequence, *[b"%d" % n for n in range(FRAME_JOBS)])
        ((first, count),) = accepted["ids"]
        assert (count, accepted["warning"]) == (FRAME_JOBS, None)
        expected.update({first + n: b"%d" % n * 2 for n in range(FRAME_JOBS)})
    assert await client.values(8 * FRAME_JOBS) == expected


@pytest_twisted.ensureDeferred
async def test_a_frame_sent_twice_is_one_frame(cluster: Cluster) -> None:
    await cluster.worker()
    client, connection = await cluster.client()
    once = await submit(connection, 1, b"a", b"b")
    twice = await submit(connection, 1, b"a", b"b")
    assert once["ids"] == twice["ids"]
    assert len(await client.values(2)) == 2
    status = await connection.call(commands.Query, question="status", details={})
    assert status["answer"]["submitted"] == 2


@pytest_twisted.ensureDeferred
async def test_a_client_that_comes_back_gets_what_ended_meanwhile(cluster: Cluster) -> None:
    worker = await cluster.worker()
    worker.waits = True
    _client, connection = await cluster.client()
    await submit(connection, 1, b"a")
    assignments = await worker.held.get()
    connection.abort()
    await _lost(connection)
    worker.finish(assignments)
    again, connection = await cluster.client()
    assert list((await again.values(1)).values()) == [b"aa"]


@pytest_twisted.ensureDeferred
async def test_the_jobs_of_a_worker_that_leaves_go_to_another(cluster: Cluster) -> None:
    leaver = await cluster.worker(name="leaver")
    leaver.waits = True
    client, connection = await cluster.client()
    await submit(connection, 1, b"a")
    await leaver.held.get()
    await leaver.connection.call(commands.Goodbye)
    leaver.connection.close()
    await cluster.worker(name="stayer")
    assert list((await client.values(1)).values()) == [b"aa"]


@pytest_twisted.ensureDeferred
async def test_blobs_go_up_and_down(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"0123456789" * 300_000)
    ref = BlobRef(hashlib.sha256(path.read_bytes()).digest(), path.stat().st_size)
    worker = await cluster.worker()
    worker.waits = True
    _client, connection = await cluster.client()
    missing = await submit(connection, 1, ref)
    assert (missing["ids"], missing["missing"]) == ([], [ref.digest])
    await upload(connection, ref, path)
    accepted = await submit(connection, 1, ref)
    assert accepted["missing"] == []
    ((assignment,),) = [await worker.held.get()]
    assert assignment.payload == ref
    defer: Any = threads.deferToThread
    blobs = BlobFolder(tmp_path / "worker", defer)
    await blobs.start()
    await download(worker.connection, ref, blobs)
    assert blobs.file(ref).read_bytes() == path.read_bytes()


@pytest_twisted.ensureDeferred
async def test_another_clients_jobs_are_not_there(cluster: Cluster) -> None:
    _mine, connection = await cluster.client(tcp=False)
    accepted = await submit(connection, 1, b"a")
    _theirs, other = await cluster.client(tcp=True, session=b"t" * 16)
    job = accepted["ids"][0][0]
    with pytest.raises(NoSuchJob):
        await other.call(commands.Query, question="job", details={"job": job})
    cancelled = await other.call(commands.Cancel, jobs=[job], queued_only=False)
    assert cancelled == {"states": {job: "unknown"}}


@pytest_twisted.ensureDeferred
async def test_a_worker_of_nonsense_harms_no_job(cluster: Cluster) -> None:
    client, connection = await cluster.client()
    nonsense = await cluster.worker(name="nonsense")
    nonsense.waits = True
    await submit(connection, 1, b"a")
    (assignment,) = await nonsense.held.get()
    for report in (
        Report(assignment.job, assignment.attempt._replace(number=99), Ending.FAILED, None, 0, b""),
        Report(assignment.job, assignment.attempt._replace(term=99), Ending.FAILED, None, 0, b""),
        Report(assignment.job + 99, assignment.attempt, Ending.FAILED, None, 0, b""),  # type: ignore[arg-type]
    ):
        await nonsense.connection.call(commands.Finished, reports=pack_reports([report]))
    nonsense.finish([assignment])
    nonsense.finish([assignment])
    assert await client.values(1) == {assignment.job: b"aa"}
    status = await connection.call(commands.Query, question="status", details={})
    ended = {words: count for words, count in status["answer"]["ended"].items() if count}
    assert ended == {"succeeded": 1}


@pytest_twisted.ensureDeferred
async def test_status_names_what_it_listens_on(cluster: Cluster) -> None:
    _client, connection = await cluster.client()
    status = (await connection.call(commands.Query, question="status", details={}))["answer"]
    assert status["listening"] == cluster.service.listening
    assert status["store"] == cluster.driver.store_id


@pytest_twisted.ensureDeferred
async def test_a_client_that_does_not_read_is_not_read(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinator keeps only so much for it, and serves the others."""
    monkeypatch.setattr(limits, "BLOCKED_DEADLINE", 3600.0)
    _deaf, connection = await cluster.client(tcp=False)
    served = next(iter(cluster.service._connections))
    connection.transport.pauseProducing()
    details = {"x": b"x" * 1_000_000}
    asked = [connection.call(commands.Query, question="x", details=details) for _ in range(8)]
    big = {"after": None, "limit": 500, "state": None, "name": None, "group": None, "newest": False}
    await submit_quietly(connection, big)
    await until(lambda: served.liveness.blocked is not None)
    _friend, other = await cluster.client(tcp=False, session=b"f" * 16)
    assert await other.call(commands.Query, question="status", details={})
    connection.abort()
    for call in asked:
        call.addErrback(lambda _: None)


async def submit_quietly(connection: Any, details: dict[str, Any]) -> None:
    """Many jobs with long names, then many long lists of them, whose answers nobody reads."""
    spec = pack_spec(JobSpec(kind="import", target="a:b" * 60, name="n" * 190))
    frame = pack_submissions([Submission(spec, b"")] * FRAME_JOBS)
    calls = [
        connection.call(commands.Submit, sequence=sequence, group=None, jobs=frame)
        for sequence in range(1, 9)
    ]
    calls += [connection.call(commands.Query, question="jobs", details=details) for _ in range(100)]
    for call in calls:
        call.addErrback(lambda _: None)
