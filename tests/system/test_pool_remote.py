"""A pool over a coordinator: the UNIX socket, TLS with a token, connections that go."""

from __future__ import annotations

import math
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from ampacity import (
    CoordinatorLost,
    JobCancelled,
    NoCoordinator,
    NoSuchGroup,
    NoSuchJob,
    Pool,
    PoolClosed,
    Refused,
)
from ampacity.client.local import LocalCluster
from ampacity.coordinator.credentials import Credentials
from ampacity.coordinator.service import CoordinatorService
from ampacity.protocol.access import AccessFolder, StateFolder
from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater

reactor: Any = _reactor


@attrs.define
class Running:
    cluster: LocalCluster
    service: CoordinatorService
    access: AccessFolder

    @property
    def socket(self) -> str:
        return f"unix:{self.access.socket}"

    async def stop(self) -> None:
        await self.service.stopService()
        await self.cluster.stop()


async def start(folder: Path, listen: tuple[str, ...] = ()) -> Running:
    """A coordinator with two slots of its own, in this process, behind its doors."""
    cluster = LocalCluster(reactor, slots=2)
    await cluster.start()
    access = AccessFolder(folder / "access")
    credentials = Credentials(StateFolder(folder / "state"))
    service = CoordinatorService(reactor, cluster.driver, access, credentials, listen)
    service.startService()
    await service.ready
    return Running(cluster, service, access)


@pytest_twisted.async_yield_fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    running = await start(tmp_path, ("tcp:127.0.0.1:0",))
    yield running
    await running.stop()


@pytest_twisted.async_yield_fixture
async def pool(running: Running) -> AsyncIterator[Pool]:
    pool = Pool.connect(running.socket, reactor=reactor)
    yield pool
    await pool.close()


def double(n: int) -> int:
    return n * 2


def grow(data: bytes) -> bytes:
    return data * 2


async def cut(pool: Any) -> None:
    """Lose the connection, as a network does."""
    pool._engine._link._coordinator.connection.abort()


@pytest_twisted.ensureDeferred
async def test_jobs_over_the_socket(pool: Pool):
    assert await pool.submit(math.factorial, 10) == 3628800
    offset = 5
    assert await pool.map(lambda n: n + offset, range(1500)) == [n + 5 for n in range(1500)]
    with pytest.raises(ValueError, match="math domain"):
        await pool.submit(math.sqrt, -1)
    data = os.urandom(3_000_000)
    assert await pool.submit(grow, data) == data * 2
    folder = pool._engine.session().spool.folder
    while {path.name for path in folder.rglob("*") if path.is_file()} != {"owner"}:
        await deferLater(reactor, 0.01)


@pytest_twisted.ensureDeferred
async def test_jobs_over_tls(running: Running, tmp_path: Path):
    line = running.service.join_line("client")
    address, _, token = line.partition("#")
    async with Pool.connect(line, reactor=reactor) as pool:
        assert await pool.map(double, range(100)) == [n * 2 for n in range(100)]
    file = tmp_path / "cluster.token"
    file.touch(0o600)
    file.write_text(token + "\n")
    async with Pool.connect(address, token_file=file, reactor=reactor) as pool:
        assert await pool.submit(double, 4) == 8
    with pytest.raises(Refused):
        await Pool.connect(address, reactor=reactor).ready()


@pytest_twisted.ensureDeferred
async def test_work_of_another_program(running: Running, pool: Pool):
    other = Pool.connect(running.socket, reactor=reactor)
    job = other.options(name="found").submit(double, 4)
    group = other.map(double, range(700))
    number, name = await job.accepted(), await group.accepted()
    await group.submitted()
    await other.close()
    assert await pool.job(number) == 8
    assert await pool.group(name) == [n * 2 for n in range(700)]
    assert [found.id for found in await pool.jobs(name="found")] == [number]
    with pytest.raises(NoSuchJob):
        await pool.job(999_999)
    with pytest.raises(NoSuchGroup):
        await pool.group("g999")


@pytest_twisted.ensureDeferred
async def test_a_lost_connection_loses_nothing(pool: Pool):
    await pool.ready()
    slow = pool.submit(time.sleep, 0.5)
    await slow.accepted()
    group = pool.map(double, range(3000))
    jobs = [pool.submit(double, n) for n in range(300)]
    for _ in range(3):
        await deferLater(reactor, 0.05)
        if pool._engine._link._coordinator is not None:  # type: ignore[union-attr]  # it is remote
            await cut(pool)
    assert [await job for job in jobs] == [n * 2 for n in range(300)]
    assert await group == [n * 2 for n in range(3000)]
    await slow


@pytest_twisted.ensureDeferred
async def test_another_store_is_told(tmp_path: Path):
    first = await start(tmp_path)
    pool = Pool.connect(first.socket, reactor=reactor)
    job = pool.submit(time.sleep, 60)
    await job.accepted()
    result = job.result()
    await first.stop()
    second = await start(tmp_path)
    with pytest.raises(CoordinatorLost):
        await result
    assert await pool.submit(double, 4) == 8
    await pool.close()
    await second.stop()


@pytest_twisted.ensureDeferred
async def test_no_coordinator(tmp_path: Path):
    pool = Pool.connect(f"unix:{tmp_path}/nothing", wait=0.3, reactor=reactor)
    job = pool.submit(double, 1)
    with pytest.raises(NoCoordinator, match="ampacity up"):
        await pool.ready()
    with pytest.raises(NoCoordinator):
        await job
    with pytest.raises(NoCoordinator):
        await pool.submit(double, 1)
    await pool.close()


@pytest_twisted.ensureDeferred
async def test_a_coordinator_that_comes_late(tmp_path: Path):
    pool = Pool.connect(f"unix:{tmp_path}/access/coordinator.socket", reactor=reactor)
    job = pool.submit(double, 1)
    await deferLater(reactor, 0.2)
    running = await start(tmp_path)
    assert await job == 2
    await pool.close()
    await running.stop()


@pytest_twisted.ensureDeferred
async def test_jobs_outlive_their_client_unless_it_says_otherwise(running: Running, pool: Pool):
    other = Pool.connect(running.socket, reactor=reactor)
    stays = other.submit(time.sleep, 0.5)
    goes = other.options(orphans="cancel").submit(time.sleep, 60)
    waiting = stays.result()
    numbers = [await stays.accepted(), await goes.accepted()]
    await other.close()
    with pytest.raises(PoolClosed, match="the job goes on"):
        await waiting
    assert await pool.job(numbers[0]) is None
    with pytest.raises(JobCancelled):
        await pool.job(numbers[1])
