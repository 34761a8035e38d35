"""Large values between client, coordinator and workers, over TLS."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest_twisted
from ampacity.protocol.limits import CHUNK_SIZE

MIB = 1024 * 1024


class Peak:
    """The highest resident size of a process while this is open."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.before = self.most = self._process.memory_info().rss
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._open.wait(0.02):
            self.most = max(self.most, self._process.memory_info().rss)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        return self.most - self.before


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make(size: int, seed: int) -> bytes:
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(MIB) * (size // MIB)


def twice(data: bytes) -> bytes:
    return data + data


@pytest_twisted.ensureDeferred
async def test_values_of_a_mebibyte_both_ways(cluster: Any) -> None:
    await cluster.start()
    await cluster.worker("one", slots=2)
    values = [os.urandom(MIB) for _ in range(12)]
    results = await cluster.pool().map(twice, values)
    assert results == [value + value for value in values]


@pytest_twisted.ensureDeferred
async def test_a_large_argument_costs_the_coordinator_no_memory(cluster: Any) -> None:
    await cluster.start()
    await cluster.worker("one")
    pool = cluster.pool()
    assert await pool.submit(digest, b"warm") == digest(b"warm")
    data = make(256 * MIB, 1)
    with Peak(cluster.coordinator.pid) as peak:
        assert await pool.submit(digest, data) == digest(data)
    assert peak.growth < 64 * MIB


@pytest_twisted.ensureDeferred
async def test_a_large_result_costs_the_coordinator_no_memory(cluster: Any) -> None:
    await cluster.start()
    worker = await cluster.worker("one")
    pool = cluster.pool()
    assert await pool.submit(digest, b"warm") == digest(b"warm")
    with Peak(cluster.coordinator.pid) as peak, Peak(worker.pid) as agent:
        result = await pool.submit(make, 256 * MIB, 2)
    assert digest(result) == digest(make(256 * MIB, 2))
    assert peak.growth < 64 * MIB
    assert agent.growth < 64 * MIB


@pytest_twisted.ensureDeferred
async def test_the_coordinator_answers_while_a_large_value_passes(cluster: Any) -> None:
    await cluster.start()
    await cluster.worker("one", slots=2)
    pool = cluster.pool()
    large = pool.submit(digest, make(128 * MIB, 3))
    begun = time.monotonic()
    assert await pool.submit(sum, [1, 2]) == 3
    small = time.monotonic() - begun
    await large
    assert small < 5.0


def make_later(folder: str, size: int) -> bytes:
    Path(folder, "begun").touch()
    time.sleep(0.3)
    return bytes(size)


@pytest_twisted.ensureDeferred
async def test_a_worker_that_leaves_hands_its_large_result_over(
    cluster: Any, tmp_path: Path, until: Any
) -> None:
    """The grace is for machines that are busy: nobody waits for its end."""
    await cluster.start()
    worker = await cluster.worker("one", grace=60.0)
    job = cluster.pool().submit(make_later, str(tmp_path), 16 * CHUNK_SIZE)
    await until((tmp_path / "begun").exists)
    await worker.end()
    assert await job == bytes(16 * CHUNK_SIZE)
    assert (await job.info()).losses == 0
