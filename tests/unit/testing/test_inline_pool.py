"""The pool that runs jobs when they are submitted: what the contract does not say of it."""

from __future__ import annotations

import gc
import os
import pickle
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from ampacity import JobCrashed, JobTimedOut, PoolClosed, StorageFull
from ampacity.protocol.errors import BadOption
from ampacity.testing import (
    Crashes,
    Hangs,
    InlinePool,
    NeverEnds,
    NotFired,
    Raises,
    Returns,
    Runs,
    result_of,
)
from ampacity.tests.unit.testing.contract_jobs import double, echo, say_and_fail
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool


def test_a_job_has_ended_when_submit_returns() -> None:
    job = InlinePool().submit(double, 4)
    assert job.ended
    assert job.id == 1
    assert result_of(job) == result_of(job.result()) == 8


def test_plans_say_what_becomes_of_the_executions_of_each_job() -> None:
    pool = InlinePool()
    pool.plan(double, Crashes(), Runs())
    jobs = [pool.submit(double, n) for n in range(3)]
    assert [result_of(job) for job in jobs] == [0, 2, 4]
    assert [result_of(job.info()).losses for job in jobs] == [1, 1, 1]


def test_a_plan_may_depend_on_the_arguments() -> None:
    pool = InlinePool()
    pool.plan(double, lambda n: Raises(OSError("three")) if n == 3 else Returns(n * 100))
    assert result_of(pool.submit(double, 2)) == 200
    with pytest.raises(OSError, match="three"):
        result_of(pool.submit(double, 3))


def test_a_plan_is_made_of_doings() -> None:
    with pytest.raises(TypeError, match="a plan is made of"):
        InlinePool().plan(double)
    with pytest.raises(TypeError, match="a plan is made of"):
        InlinePool().plan(double, Runs(), "crash")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no signal 'SIGNONSENSE'"):
        Crashes("SIGNONSENSE")


def test_time_is_virtual() -> None:
    pool = InlinePool()
    pool.plan(double, Runs(seconds=3600))
    before, real = pool.reactor.seconds(), time.monotonic()
    job = pool.submit(double, 1)
    assert pool.reactor.seconds() - before >= 3600
    assert result_of(job.info()).seconds == 3600
    assert time.monotonic() - real < 60


def test_pauses_before_retries_take_none() -> None:
    pool = InlinePool()
    pool.plan(double, Raises(OSError()), Raises(OSError()), Runs())
    before = pool.reactor.seconds()
    assert result_of(pool.options(retries=2, backoff=60).submit(double, 1)) == 2
    assert pool.reactor.seconds() - before > 60


def test_a_crash_tells_all_that_is_known() -> None:
    pool = InlinePool()
    pool.plan(double, Crashes(exit_code=7, output="the end\n", peak_memory=2**30))
    with pytest.raises(JobCrashed, match="exit code 7, peak memory 1024 MiB") as raised:
        result_of(pool.options(max_losses=0).submit(double, 1))
    assert raised.value.output == "the end\n"
    assert raised.value.evidence is not None
    assert raised.value.evidence["exit_code"] == 7


@pytest.mark.parametrize(("resists", "signal"), [(0, "SIGINT"), (2, "SIGTERM"), (9, "SIGKILL")])
def test_who_resists_gets_stronger_signals(resists: float, signal: str) -> None:
    pool = InlinePool()
    pool.plan(double, Hangs(resists=resists))
    with pytest.raises(JobTimedOut, match=signal):
        result_of(pool.options(timeout=5).submit(double, 1))


def test_what_hangs_for_ever_is_told_instead() -> None:
    pool = InlinePool()
    pool.plan(double, Hangs())
    with pytest.raises(NeverEnds, match="double"):
        pool.submit(double, 1)


def test_what_a_job_prints_is_kept_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="as it should"):
        result_of(job := InlinePool().submit(say_and_fail))
    assert capsys.readouterr().out == "the last words\n"
    assert result_of(job.info()).output == "the last words\n"


def test_a_job_finds_its_folder_and_its_number(tmp_path: Path) -> None:
    pool, before = InlinePool().options(cwd=tmp_path), Path.cwd()
    assert result_of(pool.submit(os.getcwd)) == str(tmp_path)
    assert result_of(pool.submit(os.getenv, "AMPACITY_JOB_ID")) == "2"
    assert Path.cwd() == before
    assert "AMPACITY_JOB_ID" not in os.environ


# -- refusals --------------------------------------------------------------------------------------


def test_submissions_can_be_refused() -> None:
    pool = InlinePool()
    pool.refuse(StorageFull())
    with pytest.raises(StorageFull):
        result_of(pool.submit(double, 1))
    pool.refuse(None)
    assert result_of(pool.submit(double, 1)) == 2


# -- its life --------------------------------------------------------------------------------------


def set_up() -> None:
    os.environ["SET_UP"] = str(int(os.environ.get("SET_UP", "0")) + 1)


@pytest.mark.parametrize("setup", [set_up, f"{set_up.__module__}:set_up"])
def test_it_takes_what_a_pool_takes(setup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET_UP", "0")
    pool = InlinePool(python="python3", setup=setup, slots=3, reactor=object())
    assert os.environ["SET_UP"] == "0"
    assert [result_of(pool.submit(double, n)) for n in (1, 2)] == [2, 4]
    assert os.environ["SET_UP"] == "1"
    with pytest.raises(BadOption):
        InlinePool(slots=0)
    assert result_of(InlinePool.connect("host:8786", token="x").submit(double, 1)) == 2


def test_it_is_a_service_and_a_context() -> None:
    pool = InlinePool()
    pool.startService()
    assert result_of(pool.submit(double, 1)) == 2
    result_of(pool.stopService())
    with pytest.raises(PoolClosed):
        pool.submit(double, 1)

    async def program() -> int:
        async with InlinePool() as pool:
            return await pool.submit(double, 5)

    assert result_of(program()) == 10


def test_its_folders_go_with_it() -> None:
    pool = InlinePool()
    result_of(pool.submit(lambda: "by value"))
    folders = [pool._ground.scratch(), pool._engine.session().spool.folder]
    assert all(folder.exists() for folder in folders)
    del pool
    gc.collect()
    assert not any(folder.exists() for folder in folders)


def test_its_clock_is_a_reactors() -> None:
    pool = InlinePool()
    ticks: list[float] = []
    ticking = LoopingCall(lambda: ticks.append(pool.reactor.seconds()))
    ticking.clock = pool.reactor
    ticking.start(10, now=False)
    later = deferLater(pool.reactor, 25, double, 4)
    clock: Any = pool.reactor
    thread = deferToThreadPool(clock, clock.getThreadPool(), double, 2)
    with pytest.raises(NotFired):
        result_of(later)
    pool.advance(30)
    assert len(ticks) == 3
    assert (result_of(later), result_of(thread)) == (8, 4)


def test_what_is_submitted_while_time_passes_ends_then() -> None:
    pool = InlinePool()
    pool.plan(double, Runs(seconds=30))
    jobs: list[Any] = []
    pool.reactor.callLater(1, lambda: jobs.append(pool.submit(double, 4)))
    pool.advance(2)
    assert result_of(jobs[0]) == 8


def test_what_the_application_raises_in_a_timed_call_comes_out() -> None:
    pool = InlinePool()
    pool.reactor.callLater(1, double, None)
    with pytest.raises(TypeError):
        pool.advance(2)
    pool.advance(1)


def test_time_cannot_pass_within_itself() -> None:
    pool = InlinePool()
    pool.reactor.callLater(1, pool.advance, 1)
    with pytest.raises(RuntimeError, match="from within"):
        pool.advance(2)


# -- without pickling ------------------------------------------------------------------------------


class Thing:
    """Has an identity."""

    def __reduce__(self) -> Any:
        raise TypeError("it cannot travel")


def test_objects_may_be_handed_over_as_they_are() -> None:
    pool, thing, seen = InlinePool(pickling=False), Thing(), []

    def look(value: Any, also: Any = None) -> Any:
        seen.append((value, also))
        return value

    assert result_of(pool.submit(look, thing, also=thing)) is thing
    assert seen == [(thing, thing)]
    assert result_of(pool.map(look, [thing, 4])) == [thing, 4]

    async def things() -> AsyncIterator[Any]:
        yield thing

    assert result_of(pool.map(look, things()))[0] is thing


def test_they_are_the_pools_and_go_with_it() -> None:
    pool = InlinePool(pickling=False)
    lending: Any = pool._ground.lending
    ticket = pickle.dumps(lending.lend(Thing()))
    assert isinstance(pickle.loads(ticket), Thing)
    del pool, lending
    gc.collect()
    with pytest.raises(LookupError, match="gone"):
        pickle.loads(ticket)


def test_so_may_mocks() -> None:
    pool, work = InlinePool(pickling=False), mock.Mock(return_value=mock.sentinel.picture)
    assert result_of(pool.submit(work, 3, size=4)) is mock.sentinel.picture
    work.assert_called_once_with(3, size=4)
    pool.plan(work, Crashes())
    with pytest.raises(JobCrashed):
        result_of(pool.submit(work))


def test_the_parameters_are_checked_all_the_same() -> None:
    pool = InlinePool(pickling=False)
    with pytest.raises(TypeError, match="missing a required argument"):
        pool.submit(double)  # type: ignore[call-arg]
    assert result_of(pool.options(results="data").submit(echo, [1, 2])) == [1, 2]


def test_what_cannot_travel_fails_with_pickling() -> None:
    with pytest.raises(TypeError, match="it cannot travel"):
        InlinePool().submit(echo, Thing())
    with pytest.raises(TypeError, match="cannot be sent back: TypeError: it cannot travel"):
        result_of(InlinePool().submit(Thing))


# -- reading results -------------------------------------------------------------------------------


def test_result_of_reads_whatever_has_a_result() -> None:
    async def program() -> int:
        return await InlinePool().submit(double, 2)

    assert result_of(program()) == 4
    assert result_of(ensureDeferred(program())) == 4
    with pytest.raises(NotFired, match="no result yet"):
        result_of(Deferred())
