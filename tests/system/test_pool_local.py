"""A pool on this machine, with real children."""

from __future__ import annotations

import array
import gc
import math
import mmap
import os
import pickle
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_twisted
from ampacity import JobCancelled, JobCrashed, JobFailed, JobsFailed, JobTimedOut, Pool, WrongThread
from ampacity.protocol.mapped import MAPPED
from twisted.internet import reactor
from twisted.internet.threads import deferToThread


@pytest_twisted.async_yield_fixture
async def pool() -> AsyncIterator[Any]:
    pool = Pool(slots=2, reactor=reactor)
    yield pool
    await pool.close()


def double(n: int) -> int:
    return n * 2


def grow(data: bytes) -> bytes:
    return data * 2


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def environment(name: str) -> str | None:
    return os.environ.get(name)


def spawn_and_wait() -> None:
    import subprocess

    subprocess.run(["sleep", "77"], check=True)


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("needs two")


def raise_unpicklable() -> None:
    raise Unpicklable(1, 2)


@pytest_twisted.ensureDeferred
async def test_one_job_and_many(pool: Any):
    assert await pool.submit(math.factorial, 20) == 2432902008176640000
    assert await pool.map(double, range(2000)) == [n * 2 for n in range(2000)]
    assert [n async for n in pool.map(double, range(50))] == [n * 2 for n in range(50)]


@pytest_twisted.ensureDeferred
async def test_functions_by_value(pool: Any):
    offset = 10

    def add(n: int) -> int:
        return n + offset

    assert await pool.map(add, range(3)) == [10, 11, 12]
    assert await pool.submit(lambda: "from a lambda") == "from a lambda"


class Numbers:
    """Pickled as numpy's arrays are."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Numbers, (pickle.PickleBuffer(self.data),)

    def is_mapped(self) -> bool:
        return type(memoryview(self.data).obj) is mmap.mmap


def one_more(numbers: Numbers) -> tuple[bool, Numbers]:
    mapped, view = numbers.is_mapped(), memoryview(numbers.data).cast("B").cast("d")
    view[0] += 1.0
    return mapped, Numbers(array.array("d", view))


@pytest_twisted.ensureDeferred
async def test_large_arrays_are_mapped_both_ways_and_each_is_its_readers_own(pool: Any):
    sent = Numbers(array.array("d", [0.5]) * (MAPPED // 8))
    for mapped, result in [await pool.submit(one_more, sent) for _ in range(2)]:
        assert mapped and result.is_mapped()
        view = memoryview(result.data).cast("d")
        assert list(view[:2]) == [1.5, 0.5] and len(view) == len(sent.data)
        view[1] = 7.0
    assert list(sent.data[:2]) == [0.5, 0.5]


@pytest_twisted.ensureDeferred
async def test_large_values_both_ways(pool: Any):
    data = os.urandom(5_000_000)
    assert await pool.submit(grow, data) == data * 2


@pytest_twisted.ensureDeferred
async def test_errors(pool: Any):
    with pytest.raises(ValueError, match="math domain") as rebuilt:
        await pool.submit(math.sqrt, -1)
    assert "math domain error" in vars(rebuilt.value)["remote_traceback"]
    with pytest.raises(JobFailed, match="needs two") as told:
        await pool.submit(raise_unpicklable)
    assert told.value.type_name.endswith("Unpicklable")
    assert "raise_unpicklable" in told.value.traceback
    with pytest.raises(JobsFailed, match="1 of 2"):
        await pool.map(math.sqrt, [1, -1])


@pytest_twisted.ensureDeferred
async def test_a_crash_is_told_with_its_evidence(pool: Any):
    with pytest.raises(JobCrashed, match="SIGSEGV") as crashed:
        await pool.submit(crash)
    assert crashed.value.evidence is not None
    assert crashed.value.evidence["signal"] == "SIGSEGV"
    assert await pool.submit(double, 2) == 4


@pytest_twisted.ensureDeferred
async def test_time_outs_and_cancelling_end_what_runs(pool: Any):
    began = time.monotonic()
    with pytest.raises(JobTimedOut, match="SIG"):
        await pool.options(timeout=0.3).submit(spawn_and_wait)
    job = pool.submit(spawn_and_wait)
    await job.accepted()
    assert await job.cancel() in ("queued", "sent", "running")
    with pytest.raises(JobCancelled):
        await job
    assert time.monotonic() - began < 10
    sleeping = [p for p in psutil.Process().children(recursive=True) if "sleep" in p.name()]
    _gone, alive = psutil.wait_procs(sleeping, timeout=5)
    assert alive == []


@pytest_twisted.ensureDeferred
async def test_options_reach_the_child(pool: Any, tmp_path: Path):
    view = pool.options(env={"COLOUR": "blue"}, cwd=tmp_path, name="look")
    assert await view.submit(os.getenv, "COLOUR") == "blue"
    assert await pool.submit(os.getenv, "COLOUR") is None
    assert await pool.submit(os.getenv, "OMP_NUM_THREADS") == "1"
    assert await view.submit(os.getcwd) == str(tmp_path)
    found = await pool.jobs(name="look")
    assert [job.name for job in found] == ["look", "look"]
    assert await found[0] == "blue"


@pytest_twisted.ensureDeferred
async def test_what_was_submitted_before_can_be_found(pool: Any):
    job = pool.submit(double, 4)
    assert await job == 8
    assert await pool.job(job.id) == 8
    group = pool.map(double, range(30))
    assert await group == [n * 2 for n in range(30)]
    assert await pool.group(group.id) == [n * 2 for n in range(30)]


@pytest_twisted.ensureDeferred
async def test_the_same_key_is_the_same_job(pool: Any):
    once = pool.options(key="once")
    first, second = once.submit(time.monotonic), once.submit(time.monotonic)
    assert await first == await second
    third = once.submit(time.monotonic)
    assert await third == await first
    assert first.id == second.id == third.id


@pytest_twisted.ensureDeferred
async def test_leaving_a_stream_early(pool: Any):
    seen = []
    async for value in pool.map(double, iter(range(10**9))):
        seen.append(value)
        if len(seen) == 100:
            break
    assert seen == [n * 2 for n in range(100)]
    assert await pool.submit(double, 1) == 2


@pytest_twisted.ensureDeferred
async def test_setup_is_called_in_each_child():
    async with Pool(slots=1, setup="gc:disable", reactor=reactor) as pool:
        assert await pool.submit(gc.isenabled) is False
    async with Pool(slots=1, setup=set_up, reactor=reactor) as pool:
        assert await pool.submit(environment, "SET_UP") == "yes"


def set_up() -> None:
    os.environ["SET_UP"] = "yes"


@pytest_twisted.ensureDeferred
async def test_a_shipped_module(pool: Any, tmp_path: Path, monkeypatch: Any):
    (tmp_path / "shop_of_tea.py").write_text("def price(n):\n    return n * 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import shop_of_tea  # type: ignore[import-not-found]  # written above

    monkeypatch.setitem(sys.modules, "shop_of_tea", shop_of_tea)
    sys.path.remove(str(tmp_path))  # folders on it are searched by the children, too
    with pytest.raises(ModuleNotFoundError):
        await pool.submit(shop_of_tea.price, 2)
    pool.ship(shop_of_tea)
    assert await pool.submit(shop_of_tea.price, 2) == 6


@pytest_twisted.ensureDeferred
async def test_leaving_the_block_waits_for_jobs_and_leaves_no_process():
    before = set(psutil.Process().children(recursive=True))
    async with Pool(slots=2, reactor=reactor) as pool:
        job = pool.submit(double, 21)
    assert await job == 42
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest_twisted.ensureDeferred
async def test_another_thread_is_refused(pool: Any):
    await pool.ready()
    with pytest.raises(WrongThread, match=r"ampacity\.blocking\.Pool"):
        await deferToThread(pool.submit, double, 1)
