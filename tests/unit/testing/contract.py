"""What holds of every pool, the real one and the kit's: each function is one clause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ampacity import (
    JobCancelled,
    JobCrashed,
    JobFailed,
    JobsFailed,
    JobTimedOut,
    NoSuchJob,
    NotPackable,
    NotPlainData,
    PoolClosed,
)
from ampacity.protocol.errors import BadOption
from ampacity.protocol.limits import INLINE_LIMIT
from ampacity.tests.unit.testing import contract_jobs as jobs

CLAUSES: list[Callable[..., Any]] = []


def clause(function: Callable[..., Any]) -> Callable[..., Any]:
    CLAUSES.append(function)
    return function


# -- values ----------------------------------------------------------------------------------------


@clause
async def a_result_arrives(bench: Any, folder: Path) -> None:
    assert await bench.wait(bench.pool.submit(jobs.double, 21)) == 42
    assert await bench.wait(bench.pool.submit(jobs.divide, 1, divisor=4)) == 0.25


@clause
async def a_function_made_here_travels_too(bench: Any, folder: Path) -> None:
    factor = 3
    assert await bench.wait(bench.pool.submit(lambda n: n * factor, 5)) == 15


@clause
async def arguments_are_copies(bench: Any, folder: Path) -> None:
    items = [1, 2, 3]
    assert await bench.wait(bench.pool.submit(jobs.append, items)) == [1, 2, 3, 4]
    assert items == [1, 2, 3]


@clause
async def large_values_travel_both_ways(bench: Any, folder: Path) -> None:
    data = bytes(range(256)) * (INLINE_LIMIT // 256 + 10)
    assert await bench.wait(bench.pool.submit(jobs.echo, data)) == data


@clause
async def a_map_gives_its_results_in_order(bench: Any, folder: Path) -> None:
    assert await bench.wait(bench.pool.map(jobs.double, range(20))) == list(range(0, 40, 2))


@clause
async def a_map_streams_its_results(bench: Any, folder: Path) -> None:
    async def stream() -> list[int]:
        return [value async for value in bench.pool.map(jobs.double, range(20), in_flight=4)]

    async def ended() -> list[int]:
        return sorted([n async for n in bench.pool.map(jobs.double, range(9)).as_completed()])

    assert await bench.wait(stream()) == list(range(0, 40, 2))
    assert await bench.wait(ended()) == list(range(0, 18, 2))


@clause
async def a_map_goes_over_what_is_asynchronous(bench: Any, folder: Path) -> None:
    async def numbers() -> Any:
        for number in (1, 2, 3):
            yield number

    assert await bench.wait(bench.pool.map(jobs.double, numbers())) == [2, 4, 6]


# -- errors ----------------------------------------------------------------------------------------


@clause
async def an_exception_arrives_as_itself(bench: Any, folder: Path) -> None:
    job = bench.pool.submit(jobs.say_and_fail)
    with pytest.raises(ValueError, match="as it should") as raised:
        await bench.wait(job)
    assert "in say_and_fail" in raised.value.remote_traceback  # type: ignore[attr-defined]
    assert raised.value.__notes__ == [f"raised by job {job.id} ({job.name}), in another process"]


@clause
async def one_that_cannot_be_rebuilt_is_told_as_text(bench: Any, folder: Path) -> None:
    with pytest.raises(JobFailed, match="needs two") as raised:
        await bench.wait(bench.pool.submit(jobs.raise_not_rebuilt))
    assert raised.value.type_name.endswith("contract_jobs.NotRebuilt")


@clause
async def a_result_that_cannot_be_pickled_is_the_jobs_failure(bench: Any, folder: Path) -> None:
    with pytest.raises(Exception, match="generator"):
        await bench.wait(bench.pool.submit(jobs.not_to_be_pickled))


@clause
async def what_cannot_travel_is_refused_at_once(bench: Any, folder: Path) -> None:
    with pytest.raises(NotPackable, match="'value' of"):
        bench.pool.submit(jobs.echo, (number for number in "abc"))
    with pytest.raises(TypeError, match="divisor"):
        bench.pool.submit(jobs.divide, 1)
    with pytest.raises(BadOption, match="did you mean 'timeout'"):
        bench.pool.options(timeuot=3)


@clause
async def a_crash_comes_with_its_evidence(bench: Any, folder: Path) -> None:
    job = bench.pool.options(max_losses=1).submit(jobs.crash)
    with pytest.raises(JobCrashed, match="lost 2 times") as raised:
        await bench.wait(job)
    assert raised.value.job == job.id
    assert raised.value.evidence is not None
    assert raised.value.evidence["signal"] == "SIGSEGV"
    assert (await bench.wait(job.info())).losses == 2


@clause
async def a_time_out_ends_a_job_that_hangs(bench: Any, folder: Path) -> None:
    job = bench.pool.options(timeout=0.3).submit(jobs.hang)
    with pytest.raises(JobTimedOut, match="SIGINT was enough") as raised:
        await bench.wait(job)
    assert raised.value.evidence is not None
    assert raised.value.evidence["signal"] == "SIGINT"


@clause
async def so_does_a_deadline(bench: Any, folder: Path) -> None:
    with pytest.raises(JobTimedOut, match="past its deadline"):
        await bench.wait(bench.pool.options(deadline=0.5).submit(jobs.hang))


@clause
async def failures_of_a_map_are_told_together(bench: Any, folder: Path) -> None:
    with pytest.raises(JobsFailed) as raised:
        await bench.wait(bench.pool.map(jobs.double, [1, None, 3]))
    assert raised.value.results == {0: 2, 2: 6}
    assert isinstance(raised.value.failures[1], TypeError)
    mixed = await bench.wait(bench.pool.map(jobs.double, [1, None], errors="return"))
    assert mixed[0] == 2
    assert isinstance(mixed[1], TypeError)


@clause
async def plain_data_is_what_was_asked_for(bench: Any, folder: Path) -> None:
    plain = bench.pool.options(results="data")
    assert await bench.wait(plain.submit(jobs.echo, {"a": [1, b"b"]})) == {"a": [1, b"b"]}
    with pytest.raises(NotPlainData):
        await bench.wait(plain.submit(jobs.echo, {1, 2}))


# -- options ---------------------------------------------------------------------------------------


@clause
async def retries_are_made(bench: Any, folder: Path) -> None:
    pool, file = bench.pool.options(retries=2, backoff=0.01), str(folder / "count")
    job = pool.submit(jobs.fail_until, file, 2)
    assert await bench.wait(job) == 2
    info = await bench.wait(job.info())
    assert (info.attempts, info.failures, info.state) == (3, 2, "succeeded")


@clause
async def only_for_errors_that_are_worth_it(bench: Any, folder: Path) -> None:
    pool = bench.pool.options(retries=5, retry_on=KeyError, backoff=0.01)
    with pytest.raises(OSError, match="not yet"):
        await bench.wait(pool.submit(jobs.fail_until, str(folder / "count"), 2))


@clause
async def variables_are_set_for_the_job_alone(bench: Any, folder: Path) -> None:
    pool = bench.pool.options(env={"COLOUR": "green"}, name="painting")
    job = pool.submit(jobs.variable, "COLOUR")
    assert await bench.wait(job) == "green"
    assert job.name == "painting"
    assert await bench.wait(bench.pool.submit(jobs.variable, "COLOUR")) is None


@clause
async def the_same_key_is_the_same_job(bench: Any, folder: Path) -> None:
    pool = bench.pool.options(key="once")
    first, second = pool.submit(jobs.double, 1), pool.submit(jobs.double, 2)
    assert [await bench.wait(first), await bench.wait(second)] == [2, 2]
    assert first.id == second.id


# -- a job's life ----------------------------------------------------------------------------------


async def running(bench: Any) -> Any:
    """A job that hangs, and is known to run. (That of an inline pool has its end already.)"""
    job = bench.pool.submit(jobs.hang)
    await bench.wait(job.accepted())
    for _ in range(1000):
        if (await bench.wait(job.info())).state == "running":
            return job
        await bench.pause()
    raise AssertionError("it never began")


@clause
async def a_running_job_can_be_cancelled(bench: Any, folder: Path) -> None:
    if bench.kind == "inline":
        return  # its jobs have ended when there is somebody to cancel them
    job = await running(bench)
    assert await bench.wait(job.cancel()) == "running"
    with pytest.raises(JobCancelled, match="SIGINT was enough"):
        await bench.wait(job)
    assert await bench.wait(job.cancel()) == "cancelled"


@clause
async def cancelling_its_deferred_does_so_too(bench: Any, folder: Path) -> None:
    if bench.kind == "inline":
        return  # its jobs have ended when there is somebody to cancel them
    job = await running(bench)
    waiting = job.result()
    waiting.cancel()
    with pytest.raises(JobCancelled):
        await bench.wait(job)
    waiting.addErrback(lambda _: None)


@clause
async def what_is_known_of_a_job(bench: Any, folder: Path) -> None:
    job = bench.pool.options(name=f"{bench.kind} known").submit(jobs.double, 4)
    await bench.wait(job)
    info = await bench.wait(job.info())
    assert (info.id, info.state, info.attempts, info.losses) == (job.id, "succeeded", 1, 0)
    (found,) = await bench.wait(bench.pool.jobs(name=f"{bench.kind} known"))
    assert await bench.wait(found) == 8
    assert await bench.wait(bench.pool.job(job.id)) == 8


@clause
async def a_job_is_run_again_and_forgotten(bench: Any, folder: Path) -> None:
    job = bench.pool.submit(jobs.double, 4)
    await bench.wait(job)
    again = await bench.wait(job.retry())
    assert again.id != job.id
    assert await bench.wait(again) == 8
    assert await bench.wait(job.forget()) == "forgotten"
    with pytest.raises(NoSuchJob):
        await bench.wait(job.info())


@clause
async def a_closed_pool_takes_nothing(bench: Any, folder: Path) -> None:
    pool = bench.fresh()
    await bench.wait(pool.close())
    with pytest.raises(PoolClosed):
        pool.submit(jobs.double, 1)
    with pytest.raises(PoolClosed):
        pool.map(jobs.double, [1])
