"""Values at a coordinator's connections: a hash opens nothing, and says nothing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from ampacity.coordinator.client_session import ClientSession
from ampacity.coordinator.driver import Driver
from ampacity.coordinator.worker_session import WorkerSession
from ampacity.protocol import commands
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.errors import AmpacityError, Disconnected, Malformed, NoSuchBlob, NotAllowed
from ampacity.protocol.ids import ClientId
from ampacity.protocol.jobs import (
    BlobRef,
    JobSpec,
    Submission,
    pack_spec,
    pack_submissions,
    unpack_assignments,
)
from ampacity.protocol.limits import CHUNK_SIZE
from ampacity.protocol.outcomes import Ending, Report, pack_reports
from ampacity.protocol.ports import WorkerInfo
from twisted.internet.defer import execute
from twisted.protocols import amp

DATA = os.urandom(2 * CHUNK_SIZE + 100)
INFO = WorkerInfo(
    name="w", incarnation=b"i" * 16, slots=4, python="3.11", host="h", software="1", pid=1
)


def ref_of(data: bytes) -> BlobRef:
    return BlobRef(hashlib.sha256(data).digest(), len(data))


REF = ref_of(DATA)
NOWHERE = BlobRef(b"n" * 32, len(DATA))


class Ears(amp.CommandLocator):
    """Takes what it is told."""

    def __init__(self) -> None:
        self.assigned: list[Any] = []
        self.delivered = 0

    @commands.Assign.responder
    def assign(self, jobs: bytes) -> dict[str, Any]:
        self.assigned += unpack_assignments(jobs)
        return {}

    @commands.Delivered.responder
    def deliver(self, outcomes: bytes) -> dict[str, Any]:
        self.delivered += 1
        return {}

    @commands.EndAttempts.responder
    def end(self, attempts: Any) -> dict[str, Any]:
        return {}


@attrs.define(eq=False)
class Side:
    """A peer of the coordinator."""

    pair: Any
    ears: Ears
    sequence: int = 0

    def call(self, command: Any, **arguments: Any) -> Any:
        return self.pair.result(self.pair.here.connection.call(command, **arguments))

    def chunk(self, ref: BlobRef, offset: int, data: bytes) -> bool:
        part = data[offset : offset + CHUNK_SIZE]
        fields = {"digest": ref.digest, "size": ref.size, "offset": offset, "data": part}
        have: bool = self.call(commands.PutChunk, **fields)["have"]
        return have

    def put(self, data: bytes) -> list[bool]:
        """The answers to all of its chunks, or to those until the rest need not be sent."""
        answers: list[bool] = []
        for offset in range(0, len(data), CHUNK_SIZE):
            answers.append(self.chunk(ref_of(data), offset, data))
            if answers[-1]:
                break
        return answers

    def get(self, ref: BlobRef, offset: int = 0) -> bytes:
        data: bytes = self.call(commands.GetChunk, digest=ref.digest, offset=offset)["data"]
        return data

    def submit(self, payload: Any) -> Any:
        job = Submission(pack_spec(JobSpec(kind="import", target="m:f")), payload)
        answer = self.call(
            commands.Submit, sequence=self.sequence, group=None, jobs=pack_submissions([job])
        )
        self.sequence += not answer["missing"]
        return answer

    def refusal(self, work: Callable[[], Any]) -> tuple[type, str]:
        with pytest.raises(AmpacityError) as caught:
            work()
        return type(caught.value), str(caught.value)


@attrs.define(eq=False)
class Hall:
    driver: Driver
    pair_of: Any
    clock: Any

    def client(self, name: str, opened: bool = True) -> Side:
        side = Side(self.pair_of(ears := Ears()), ears)
        connection = side.pair.there.connection
        session = ClientSession(self.driver, self.driver.blobs, connection, ClientId(name))
        connection.admit(session)
        if opened:
            side.sequence = side.call(commands.OpenSession, session=os.urandom(16))["next_sequence"]
        return side

    def worker(self, **info: Any) -> Side:
        side = Side(self.pair_of(ears := Ears()), ears)
        connection = side.pair.there.connection
        connection.admit(WorkerSession(self.driver, self.driver.blobs, connection))
        about = attrs.asdict(attrs.evolve(INFO, **info))
        side.call(commands.Join, info=about, held=[])
        return side

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.driver.blobs.folder.iterdir())


@pytest.fixture
def hall(pair_of: Any, clock: Any, tmp_path: Path) -> Iterator[Hall]:
    blobs = BlobFolder(tmp_path / "values", execute)
    blobs.start()
    driver = Driver(clock, blobs)
    driver.start()
    yield Hall(driver, pair_of, clock)
    driver.stop()


def test_a_hash_opens_nothing_and_says_nothing(hall: Hall) -> None:
    owner, thief = hall.client("owner"), hall.client("thief")
    assert owner.put(DATA) == [False, False, True]
    assert owner.submit(REF)["missing"] == []
    answers, lie = [], bytes(len(DATA))
    for ref in (REF, NOWHERE):
        missing = thief.submit(ref)
        assert missing.pop("missing") == [ref.digest]
        answers.append(
            (
                missing,
                thief.refusal(partial(thief.get, ref)),
                thief.chunk(ref, 0, lie),
                thief.refusal(partial(thief.chunk, ref, 2 * CHUNK_SIZE, lie)),
                thief.chunk(ref, CHUNK_SIZE, lie),
                thief.refusal(partial(thief.chunk, ref, 2 * CHUNK_SIZE, lie)),
                thief.refusal(partial(thief.get, ref)),
            )
        )
    assert answers[0][:3] == answers[1][:3]
    assert [told[0] for told in answers[0][3:6:2]] == [told[0] for told in answers[1][3:6:2]]
    assert answers[0][1][0] is NoSuchBlob
    assert answers[0][5][0] is Malformed
    assert owner.get(REF) == DATA[:CHUNK_SIZE]
    assert hall.files == [REF.digest.hex()]


def test_sending_what_is_there_proves_that_one_has_it(hall: Hall) -> None:
    first, second = hall.client("first"), hall.client("second")
    first.put(DATA)
    file = hall.driver.blobs.file(REF)
    before = file.stat()
    assert second.put(DATA) == [False, False, True]
    assert second.submit(REF)["missing"] == []
    assert second.get(REF, 2 * CHUNK_SIZE) == DATA[2 * CHUNK_SIZE :]
    assert file.stat() == before
    for client in (first, second, hall.client("first")):
        assert client.put(DATA) == [True]


def test_nobody_rides_on_the_upload_of_another(hall: Hall) -> None:
    owner, rider = hall.client("owner"), hall.client("rider")
    lie = bytes(len(DATA))
    assert not owner.chunk(REF, 0, DATA)
    assert not rider.chunk(REF, 0, lie)
    assert not owner.chunk(REF, CHUNK_SIZE, DATA)
    assert not rider.chunk(REF, CHUNK_SIZE, lie)
    assert owner.chunk(REF, 2 * CHUNK_SIZE, DATA)
    assert rider.refusal(lambda: rider.chunk(REF, 2 * CHUNK_SIZE, lie))[0] is Malformed
    assert rider.submit(REF)["missing"] == [REF.digest]
    assert owner.submit(REF)["missing"] == []


def test_what_is_half_sent_goes_with_its_connection(hall: Hall) -> None:
    client = hall.client("c")
    client.chunk(REF, 0, DATA)
    assert len(hall.files) == 1
    client.pair.here.transport.loseConnection()
    client.pair.pump()
    assert hall.files == []


def test_values_come_after_the_session(hall: Hall) -> None:
    hall.client("c").put(DATA)
    early = hall.client("c", opened=False)
    assert early.refusal(lambda: early.put(DATA))[0] is NotAllowed
    assert early.refusal(lambda: early.get(REF))[0] is NoSuchBlob


def test_a_worker_reads_what_it_holds(hall: Hall) -> None:
    client, worker = hall.client("c"), hall.worker()
    idle = hall.worker(name="idle", incarnation=b"j" * 16, slots=0)
    other = b"another value"
    client.put(DATA)
    client.put(other)
    assert worker.refusal(lambda: worker.get(REF))[0] is NoSuchBlob
    client.submit(REF)
    hall.clock.pump([0.0] * 5)
    worker.pair.pump()
    ((job, attempt, *_),) = worker.ears.assigned
    assert worker.get(REF) == DATA[:CHUNK_SIZE]
    assert worker.refusal(lambda: worker.get(ref_of(other))) == worker.refusal(
        lambda: worker.get(NOWHERE)
    )
    assert idle.refusal(lambda: idle.get(REF))[0] is NoSuchBlob
    report = Report(job, attempt, Ending.SUCCEEDED, 1.0, 0.1, b"")
    worker.call(commands.Finished, reports=pack_reports([report]))
    assert worker.get(REF, CHUNK_SIZE)  # what was begun may be ended
    assert idle.refusal(lambda: idle.get(REF))[0] is NoSuchBlob


def test_a_worker_that_asks_for_anything_is_cut_off(hall: Hall) -> None:
    worker = hall.worker()
    for number in range(1000):
        with pytest.raises(NoSuchBlob):
            worker.get(BlobRef(number.to_bytes(32, "big"), 1))
    with pytest.raises(Disconnected):
        worker.get(NOWHERE)
        worker.get(NOWHERE)


def test_a_result_is_read_by_whose_job_it_is(hall: Hall) -> None:
    owner, other, worker = hall.client("owner"), hall.client("other"), hall.worker()
    owner.submit(b"x")
    hall.clock.pump([0.0] * 5)
    worker.pair.pump()
    ((job, attempt, *_),) = worker.ears.assigned
    assert worker.put(DATA) == [False, False, True]
    assert owner.refusal(lambda: owner.get(REF))[0] is NoSuchBlob
    report = Report(job, attempt, Ending.SUCCEEDED, 1.0, 0.1, b"body", (REF,))
    worker.call(commands.Finished, reports=pack_reports([report]))
    hall.clock.pump([0.0] * 5)
    owner.pair.pump()
    assert owner.ears.delivered
    assert owner.get(REF) == DATA[:CHUNK_SIZE]
    assert other.refusal(lambda: other.get(REF))[0] is NoSuchBlob
    # a session of the same client that was told nothing yet, and one that has no session yet
    assert hall.client("owner").get(REF) == DATA[:CHUNK_SIZE]
