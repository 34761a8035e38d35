"""A peer with nothing but Twisted's own AMP speaks the protocol, jobs and all, by the book."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ampacity.coordinator.client_session import ClientSession
from ampacity.coordinator.driver import Driver
from ampacity.coordinator.permissions import Permitted
from ampacity.coordinator.worker_session import WorkerSession
from ampacity.protocol import commands
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.connection import Connection
from ampacity.protocol.errors import Malformed
from ampacity.protocol.ids import ClientId, JobId
from ampacity.protocol.jobs import (
    JobSpec,
    Payload,
    Submission,
    pack_spec,
    pack_submissions,
    unpack_assignments,
)
from ampacity.protocol.outcomes import (
    Delivery,
    Ending,
    Report,
    pack_reports,
    unpack_deliveries,
)
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols import amp

JOBS = 1000
"""Frames of them are longer than one value of a box may be."""
PAYLOAD = bytes(1500)


def as_bytes(payload: Payload) -> bytes:
    assert isinstance(payload, bytes)
    return payload


class StockClient(amp.AMP):
    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[Delivery] = []

    @commands.Delivered.responder
    def delivered(self, outcomes: bytes) -> dict[str, Any]:
        self.outcomes += unpack_deliveries(outcomes)
        return {}


class StockWorker(amp.AMP):
    def __init__(self) -> None:
        super().__init__()
        self.acknowledged = 0

    @commands.Assign.responder
    def assign(self, jobs: bytes) -> dict[str, Any]:
        assignments = unpack_assignments(jobs)
        begun = [[job, *attempt, 1.0] for job, attempt, *_ in assignments]
        self.callRemote(commands.Begun, attempts=begun)
        reports = [
            Report(a.job, a.attempt, Ending.SUCCEEDED, 1.0, 0.001, as_bytes(a.payload)[:10])
            for a in assignments
        ]
        self.callRemote(commands.Finished, reports=pack_reports(reports)).addCallback(self._done)
        return {}

    def _done(self, _: object) -> None:
        self.acknowledged += 1


class Wire:
    """Two ends, and the bytes between them, which arrive in pieces."""

    def __init__(self, here: Connection, there: amp.AMP) -> None:
        self._ends = [(here, StringTransport()), (there, StringTransport())]
        for end, transport in self._ends:
            end.makeConnection(transport)

    def pump(self) -> bool:
        moved = False
        (here, sent), (there, told) = self._ends
        for transport, other in ((sent, there), (told, here)):
            data = transport.value()
            transport.clear()
            moved = moved or bool(data)
            for at in range(0, len(data), 40_000):
                other.dataReceived(data[at : at + 40_000])
        return moved


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def core(clock: Clock, tmp_path: Path) -> Any:
    driver = Driver(clock, BlobFolder(tmp_path, execute))
    driver.start()
    yield driver
    driver.stop()


def admitted(
    core: Driver, clock: Clock, role: Any, make: Callable[[Connection], Any]
) -> Connection:
    connection = Connection(clock=clock)
    session = make(connection)
    connection.admit(Permitted(role, session))
    return connection


def test_jobs_there_and_back(core: Driver, clock: Clock) -> None:
    client, worker = StockClient(), StockWorker()
    there = admitted(
        core, clock, "client", lambda c: ClientSession(core, core.blobs, c, ClientId("stock"))
    )
    here = admitted(core, clock, "worker", lambda c: WorkerSession(core, core.blobs, c))
    wires = [Wire(there, client), Wire(here, worker)]

    def until(done: Callable[[], bool]) -> None:
        for _ in range(2000):
            if done():
                return
            for wire in wires:
                wire.pump()
            clock.advance(0.001)
        raise AssertionError("it does not come to an end")

    def ask(peer: amp.AMP, command: type[amp.Command], **arguments: Any) -> Any:
        answers: list[Any] = []
        asked: Deferred[Any] = peer.callRemote(command, **arguments)
        asked.addBoth(answers.append)
        until(lambda: bool(answers))
        return answers[0]

    info = {
        "name": "stock",
        "incarnation": bytes(16),
        "slots": 2,
        "python": "3.11",
        "host": "here",
        "software": "0.3.0",
        "pid": 1,
    }
    assert ask(client, commands.OpenSession, session=bytes(16)) == {"next_sequence": 1}
    assert ask(worker, commands.Join, info=info, held=[])["name"] == "stock"
    spec = pack_spec(JobSpec(kind="import", target="module:function"))
    for sequence in range(1, JOBS // 50 + 1):
        frame = pack_submissions([Submission(spec, PAYLOAD)] * 50)
        answer = ask(client, commands.Submit, sequence=sequence, group=1, jobs=frame)
        assert answer["ids"] == [[sequence * 50 - 49, 50]]
        assert (answer["group"], answer["missing"]) == (1, [])
    until(lambda: len(client.outcomes) >= JOBS)
    assert sorted(client.outcomes) == [
        Delivery(JobId(job), Ending.SUCCEEDED, PAYLOAD[:10]) for job in range(1, JOBS + 1)
    ]
    assert worker.acknowledged
    refused = ask(client, commands.Submit, sequence=99, group=None, jobs=b"no frame")
    assert refused.check(Malformed)
    for end in (client, worker):
        ask(end, commands.Goodbye)
