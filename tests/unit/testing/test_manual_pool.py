"""The pool whose jobs wait for the test."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity import JobCancelled, JobCrashed, JobTimedOut, QueueFull
from ampacity.testing import ManualPool, NothingWaits, Settings, result_of
from ampacity.tests.unit.testing.contract_jobs import divide, double
from twisted.trial import unittest


def test_jobs_wait_and_run_in_any_order() -> None:
    pool = ManualPool()
    first, second = pool.submit(double, 1), pool.submit(double, 2)
    assert result_of(first.info()).state == "running"
    waiting = pool.waiting
    waiting[1].run()
    assert (first.ended, result_of(second)) == (False, 4)
    pool.run_next()
    assert result_of(first) == 2
    assert pool.waiting == []


def test_an_execution_tells_what_it_is() -> None:
    pool = ManualPool()
    job = pool.options(name="a quarter").submit(divide, 1, divisor=4)
    execution = pool.next()
    assert (execution.args, execution.kwargs) == ((1,), {"divisor": 4})
    assert (execution.id, execution.name, execution.attempt) == (job.id, "a quarter", 1)
    assert repr(execution) == "<Execution 1 of job 1 (a quarter)>"


def test_the_test_says_how_it_ends() -> None:
    pool = ManualPool()
    jobs: list[Any] = [pool.submit(double, n) for n in range(5)]
    for execution, end in zip(
        pool.waiting,
        [
            lambda e: e.succeed("as I say"),
            lambda e: e.fail(OSError("no")),
            lambda e: e.crash("SIGSEGV", output="oh"),
            lambda e: e.time_out(),
            lambda e: e.cancel(),
        ],
        strict=True,
    ):
        end(execution)
        assert execution.over
    assert result_of(jobs[0]) == "as I say"
    for job, error in zip(jobs[1:], (OSError, JobCrashed, JobTimedOut, JobCancelled), strict=True):
        with pytest.raises(error):
            result_of(job)


def test_what_is_over_ends_once() -> None:
    pool = ManualPool()
    pool.submit(double, 1)
    execution = pool.next()
    execution.run()
    for end in (execution.run, execution.cancel, execution.time_out, execution.die):
        with pytest.raises(NothingWaits):
            end()
    with pytest.raises(NothingWaits, match="nothing was submitted"):
        pool.next()


def test_a_loss_is_not_the_end() -> None:
    pool = ManualPool()
    job = pool.submit(double, 3)
    pool.next().die()
    again = pool.next()
    assert again.attempt == 2
    again.run()
    assert result_of(job) == 6
    assert result_of(job.info()).losses == 1


def test_a_retry_waits_for_its_pause() -> None:
    pool = ManualPool()
    job = pool.options(retries=1, backoff=60).submit(double, 3)
    pool.next().fail(OSError())
    assert pool.waiting == []
    assert result_of(job.info()).state == "delayed"
    pool.advance(80)
    assert pool.run_all() == 1
    assert result_of(job) == 6


def test_time_outs_and_deadlines_go_by_virtual_time() -> None:
    pool = ManualPool()
    slow, late = pool.options(timeout=10).submit(double, 1), pool.options(deadline=20)
    due = late.submit(double, 2)
    pool.advance(9)
    assert not slow.ended
    pool.advance(2)
    with pytest.raises(JobTimedOut):
        result_of(slow)
    pool.advance(10)
    with pytest.raises(JobTimedOut, match="deadline"):
        result_of(due)


def test_slots_bound_what_waits() -> None:
    pool = ManualPool(slots=2)
    jobs = [pool.submit(double, n) for n in range(3)]
    assert [execution.id for execution in pool.waiting] == [1, 2]
    assert pool.run_all() == 3
    assert [result_of(job) for job in jobs] == [0, 2, 4]


def test_a_queue_can_be_full() -> None:
    pool = ManualPool(settings=Settings(queue_jobs=2))
    jobs = [pool.submit(double, n) for n in range(3)]
    with pytest.raises(QueueFull):
        result_of(jobs[2])
    pool.run_all()
    assert [result_of(job) for job in jobs[:2]] == [0, 2]


def test_a_map_waits_when_there_is_no_room() -> None:
    pool = ManualPool(settings=Settings(queue_jobs=2))
    group = pool.map(double, range(6)).result()
    ran = 0
    while not group.called:
        ran += pool.run_all()
        pool.advance(1)
    assert ran == 6
    assert result_of(group) == [0, 2, 4, 6, 8, 10]


def test_closing_waits_for_its_grace_and_no_longer() -> None:
    pool = ManualPool()
    done, left = pool.submit(double, 1), pool.submit(double, 2)
    closing = pool.close(grace=10)
    pool.run_next()
    pool.advance(9)
    assert not closing.called
    pool.advance(1)
    result_of(closing)
    assert result_of(done) == 2
    with pytest.raises(JobCancelled, match="closed"):
        result_of(left)
    assert pool.waiting == []


class WithTrial(unittest.SynchronousTestCase):
    """The kit in a test case of trial's."""

    def runTest(self) -> None:
        pool: Any = ManualPool()
        job = pool.submit(double, 2)
        self.assertNoResult(job.result())
        pool.run_next()
        self.assertEqual(self.successResultOf(job.result()), 4)
        crashed = pool.submit(double, 2)
        pool.next().crash()
        self.failureResultOf(crashed.result(), JobCrashed)
