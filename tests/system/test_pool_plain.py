"""Results as plain data, from real children, and from a worker that is not what it says."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import pickle
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from ampacity import JobFailed, JobsFailed, NotPlainData, Pool
from ampacity.blocking import Pool as BlockingPool
from ampacity.client.local import LocalCluster
from ampacity.coordinator.credentials import Credentials
from ampacity.coordinator.service import CoordinatorService
from ampacity.protocol import commands
from ampacity.protocol.access import AccessFolder, StateFolder
from ampacity.protocol.blobfiles import hash_file
from ampacity.protocol.dialing import dial
from ampacity.protocol.jobs import unpack_assignments, unpack_spec
from ampacity.protocol.limits import INLINE_LIMIT
from ampacity.protocol.outcomes import (
    Ending,
    ErrorText,
    Outcome,
    Report,
    pack_outcome,
    pack_reports,
)
from ampacity.protocol.ports import WorkerInfo
from ampacity.protocol.transfers import upload
from twisted.internet import reactor as _reactor
from twisted.internet import threads
from twisted.internet.defer import Deferred
from twisted.protocols import amp

reactor: Any = _reactor
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class OutOfTea(Exception):
    """An error that only its own module knows."""


def give(value: Any) -> Any:
    return value


def times(data: bytes, count: int) -> list[Any]:
    return [{"data": data * count, "number": 2**100}, None]


def fetch(kind: str) -> Any:
    if kind == "set":
        return {"a": [0, 1, {2}]}
    if kind == "date":
        return [datetime.date(2000, 1, 1)]
    raise OutOfTea("no tea")


def fail_once(folder: str) -> str:
    mark = Path(folder) / "failed"
    if not mark.exists():
        mark.touch()
        raise OutOfTea("not yet")
    return "tea"


@pytest_twisted.async_yield_fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(slots=2, reactor=reactor)
    yield pool
    await pool.close()


# -- children --------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_values_come_back_as_they_were(pool: Pool) -> None:
    careful = pool.options(results="data")
    values: list[Any] = [None, True, 0, 2**200, -1.5, "ä", b"\0", [], {"a": {1: [None]}}]
    values.append("x" * 100_000)
    for value in values:
        assert await careful.submit(give, value) == value
    assert await careful.map(give, values) == values
    assert [value async for value in careful.map(give, values)] == values


@pytest_twisted.ensureDeferred
async def test_large_values_travel_apart(pool: Pool) -> None:
    data = os.urandom(1000)
    for count in (1, INLINE_LIMIT // 1000, 3000):
        expected = [{"data": data * count, "number": 2**100}, None]
        assert await pool.options(results="data").submit(times, data, count) == expected
    # each of them differs
    wanted = [times(bytes([n]) * 1000, 100) for n in range(5)]
    group = pool.options(results="data").map(
        times, [bytes([n]) * 1000 for n in range(5)], [100] * 5
    )
    assert await group == wanted


@pytest_twisted.ensureDeferred
async def test_what_is_no_plain_data_fails_with_its_place(pool: Pool) -> None:
    careful = pool.options(results="data")
    with pytest.raises(NotPlainData, match=r'did not give plain data: result\["a"\]\[2\] is a set'):
        await careful.submit(fetch, "set")
    with pytest.raises(NotPlainData, match=r"result\[0\] is a datetime.date") as caught:
        await careful.submit(fetch, "date")
    assert caught.value.job
    assert "NotPlainData" in caught.value.traceback
    with pytest.raises(JobsFailed) as failed:
        await careful.map(fetch, ["set", "date"])
    assert [type(error) for error in failed.value.failures.values()] == [NotPlainData] * 2
    assert await pool.submit(fetch, "set") == {"a": [0, 1, {2}]}


@pytest_twisted.ensureDeferred
async def test_exceptions_are_text(pool: Pool) -> None:
    with pytest.raises(JobFailed) as caught:
        await pool.options(results="data").submit(fetch, "tea")
    error = caught.value
    assert type(error) is JobFailed
    assert error.type_name.endswith("OutOfTea")
    assert "no tea" in str(error)
    assert "in fetch" in error.traceback
    with pytest.raises(OutOfTea):
        await pool.submit(fetch, "tea")


@pytest_twisted.ensureDeferred
async def test_retries_know_the_class_of_an_error(pool: Pool, tmp_path: Path) -> None:
    careful = pool.options(results="data", retries=1, backoff=0, retry_on=OutOfTea)
    assert await careful.submit(fail_once, str(tmp_path)) == "tea"
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(JobFailed, match="not yet"):
        await careful.options(retry_on=KeyError).submit(fail_once, str(other))


@pytest_twisted.ensureDeferred
async def test_the_blocking_pool(pool: Pool) -> None:
    def use() -> None:
        with BlockingPool(slots=1) as blocking:
            careful = blocking.options(results="data")
            assert careful.submit(give, [1]).result() == [1]
            assert list(careful.map(give, [[1], {"a": b""}])) == [[1], {"a": b""}]
            with pytest.raises(NotPlainData):
                careful.submit(fetch, "set").result()

    await threads.deferToThread(use)


# -- a worker that is not what it says -------------------------------------------------------------


class Bomb:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return open, (str(self.mark), "w")


class Liar(amp.CommandLocator):
    """A worker, written out word by word, that sends pickles where data was asked for."""

    def __init__(self, bomb: bytes, folder: Path) -> None:
        self.bomb = bomb
        self.folder = folder
        self.connection: Any = None
        self.asked: list[str] = []

    @commands.Assign.responder
    def assign(self, jobs: bytes) -> dict[str, Any]:
        for assignment in unpack_assignments(jobs):
            self.asked.append(unpack_spec(assignment.spec).results)
            lies = Deferred.fromCoroutine(self._lie(assignment, len(self.asked)))
            lies.addErrback(lambda _: None)
        return {}

    async def _lie(self, assignment: Any, number: int) -> None:
        error = ErrorText("shop.OutOfTea", "no tea", "Traceback")
        blob: Any = ()
        ending, outcome = [
            (Ending.SUCCEEDED, Outcome(value=self.bomb)),
            (Ending.SUCCEEDED, Outcome(value=self.bomb, data=True)),
            (Ending.FAILED, Outcome(value=self.bomb, error=error)),
            (Ending.FAILED, Outcome(value=self.bomb, error=error, data=True)),
        ][number % 4]
        if number > 4:
            file = self.folder / f"lie{number}"
            file.write_bytes(self.bomb + b" " * number)
            blob = (hash_file(file),)
            await upload(self.connection, blob[0], file)
            outcome = attrs.evolve(outcome, value=blob[0])
        body = pack_outcome(outcome)
        report = Report(assignment.job, assignment.attempt, ending, 1.0, 0.1, body, blob)
        await self.connection.call(commands.Finished, reports=pack_reports([report]))


@pytest_twisted.ensureDeferred
async def test_a_worker_that_sends_pickles_is_refused_by_name(tmp_path: Path) -> None:
    mark = tmp_path / "exploded"
    cluster = LocalCluster(reactor, slots=0)
    await cluster.start()
    access = AccessFolder(tmp_path / "access")
    credentials = Credentials(StateFolder(tmp_path / "state"))
    service = CoordinatorService(reactor, cluster.driver, access, credentials, ("tcp:127.0.0.1:0",))
    service.startService()
    await service.ready
    liar = Liar(pickle.dumps(Bomb(mark)), tmp_path)
    address: Any = service.join_line("worker")
    liar.connection = (await dial(reactor, address, "worker", None, liar)).connection
    info = WorkerInfo(
        name="liar",
        incarnation=b"l" * 16,
        slots=4,
        python=PYTHON,
        host="here",
        software=importlib.metadata.version("ampacity"),
    )
    await liar.connection.call(commands.Join, info=attrs.asdict(info), held=[])
    pool = Pool.connect(f"unix:{access.socket}", reactor=reactor)
    try:
        errors = [
            await pool.options(results="data", key=f"{n}")
            .submit(len, [1])
            .result()
            .addErrback(lambda failure: failure.value)
            for n in range(8)
        ]
        kinds = [type(error) for error in errors]
        # a pickle; one that is said to be data; an exception; one that is said to be data: its text
        assert kinds == [NotPlainData, NotPlainData, JobFailed, NotPlainData] * 2
        found = await pool.options(results="data").jobs()
        with pytest.raises(NotPlainData):
            await found[3]
        assert liar.asked == ["data"] * 8
        assert not mark.exists()
    finally:
        await pool.close()
        liar.connection.abort()
        await service.stopService()
        await cluster.stop()
