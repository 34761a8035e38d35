"""The pool's promises, with a coordinator in memory and a clock."""

from __future__ import annotations

import math
from typing import Any

import pytest
from ampacity.client import specs
from ampacity.protocol.errors import (
    BadOption,
    JobCancelled,
    NotPackable,
    PoolClosed,
    QueueFull,
)
from ampacity.protocol.jobs import unpack_spec
from ampacity.protocol.limits import FRAME_JOBS
from ampacity.protocol.outcomes import Ending, Outcome
from twisted.internet.defer import CancelledError, ensureDeferred, inlineCallbacks

from .waiting import value


def pending(deferred: Any) -> bool:
    return not deferred.called


# -- jobs ------------------------------------------------------------------------------------------


def test_a_job_has_no_id_before_it_is_accepted(pool, clock, coordinator):
    job = pool.submit(math.factorial, 5)
    accepted, result = job.accepted(), job.result()
    assert job.id is None
    clock.turn()
    assert value(accepted) == job.id == 1
    assert pending(result)
    coordinator.run()
    assert value(result) == 120
    assert value(job.result()) == 120


def test_one_turn_is_one_frame(pool, clock, coordinator):
    jobs = [pool.submit(math.sqrt, n) for n in range(FRAME_JOBS)]
    clock.turn()
    assert coordinator.sequences == [1]
    coordinator.run()
    assert [value(job.result()) for job in jobs] == [math.sqrt(n) for n in range(FRAME_JOBS)]


def test_many_jobs_are_frames_of_a_bounded_size(pool, clock, coordinator):
    for n in range(2 * FRAME_JOBS + 7):
        pool.submit(math.sqrt, n)
    clock.turn()
    assert [ids.ids for ids in coordinator.frames.values()] == [
        ((1, FRAME_JOBS),),
        ((FRAME_JOBS + 1, FRAME_JOBS),),
        ((2 * FRAME_JOBS + 1, 7),),
    ]


def test_a_coordinator_that_takes_large_frames_gets_them(pool, clock, coordinator):
    coordinator.frame_jobs = 3 * FRAME_JOBS
    pool.submit(math.sqrt, 0)
    clock.turn()
    for n in range(4 * FRAME_JOBS):
        pool.submit(math.sqrt, n)
    clock.advance(1)
    frames = [ids.ids for ids in coordinator.frames.values()]
    assert frames[1:] == [((2, 3 * FRAME_JOBS),), ((3 * FRAME_JOBS + 2, FRAME_JOBS),)]


def test_full_frames_leave_while_the_program_submits_more(pool, clock, coordinator):
    coordinator.frame_jobs = 2 * FRAME_JOBS
    first = pool.submit(math.sqrt, 0)
    clock.turn()
    jobs = [pool.submit(math.sqrt, n) for n in range(5 * FRAME_JOBS)]
    assert [ids.ids for ids in coordinator.frames.values()] == [
        ((1, 1),),
        ((2, 2 * FRAME_JOBS),),
        ((2 * FRAME_JOBS + 2, 2 * FRAME_JOBS),),
    ]
    sent, unsent = jobs[0].cancel(), jobs[-1].cancel()
    assert value(unsent) == "queued"
    clock.advance(1)
    assert coordinator.cancelled == [2]
    coordinator.run()
    assert value(first.result()) == 0.0
    assert value(sent) == "queued"
    assert [value(job.result()) for job in jobs[1:-1]] == [
        math.sqrt(n) for n in range(1, 5 * FRAME_JOBS - 1)
    ]
    for job in (jobs[0], jobs[-1]):
        with pytest.raises(JobCancelled):
            value(job.result())


def test_the_functions_own_timeout_is_its_own(pool, clock, coordinator):
    def add(a: int, *, timeout: int) -> int:
        return a + timeout

    job = pool.options(timeout=60, name="frame 7").submit(add, 1, timeout=2)
    clock.turn()
    spec = unpack_spec(coordinator.queue[0][1].spec)
    assert (spec.timeout, spec.name) == (60, "frame 7")
    coordinator.run()
    assert value(job.result()) == 3


def test_what_is_delivered_together_is_known_before_anybody_is_told(pool, clock, coordinator):
    jobs = [pool.submit(math.sqrt, n) for n in range(4)]
    seen: list[Any] = []
    jobs[1].result().addCallback(lambda _: seen.append([job.ended for job in jobs]))
    jobs[3].result().addCallback(lambda _: seen.append("told"))
    clock.turn()
    coordinator.run()
    assert seen == [[True] * 4, "told"]


def test_awaiting_what_has_ended_takes_no_turn(pool, clock, coordinator):
    good, bad, dropped = pool.submit(math.sqrt, 9), pool.submit(math.sqrt, -1), pool.submit(abs, 1)
    clock.turn()
    coordinator.run(2)
    dropped.cancel()

    async def read() -> Any:
        for _ in range(2):
            with pytest.raises(ValueError, match="math domain"):
                await bad
            with pytest.raises(JobCancelled):
                await dropped
        return [await good, await good]

    clock.turn()
    assert value(ensureDeferred(read())) == [3.0, 3.0]


def test_a_function_that_is_packed_anew_keeps_its_spec(pool, clock, coordinator, monkeypatch):
    seen: list[int] = []
    looks: list[int] = []
    packed: Any = specs.pack_spec
    monkeypatch.setattr(specs, "pack_spec", lambda spec: looks.append(1) or packed(spec))

    def growing(n: int) -> list[int]:
        return [*seen, n]

    for n in range(3):
        pool.submit(growing, n)
    assert len(looks) == 1
    seen.append(7)
    job = pool.submit(growing, 8)
    clock.turn()
    coordinator.run()
    assert len(looks) == 2
    assert value(job.result()) == [7, 8]


def test_results_are_independent_of_each_other(pool, clock, coordinator):
    job = pool.submit(math.sqrt, 16)
    first, second = job.result(), job.result()
    first.addCallback(lambda _: 1 / 0)
    clock.turn()
    coordinator.run()
    first.addErrback(lambda failure: failure.trap(ZeroDivisionError))
    assert value(second) == 4
    assert value(job.result()) == 4


def test_the_original_exception_with_the_remote_traceback(pool, clock, coordinator):
    job = pool.submit(math.sqrt, -1)
    trapped = job.result().addErrback(lambda failure: failure.trap(ValueError))
    clock.turn()
    coordinator.run()
    assert value(trapped) is ValueError
    with pytest.raises(ValueError, match="math domain") as raised:
        value(job.result())
    assert "Traceback" in raised.value.remote_traceback
    assert "Traceback" in str(raised.value.__cause__)
    assert "job 1 (math:sqrt)" in raised.value.__notes__[0]


def test_nobody_is_told_of_failures_that_nobody_asked_for(pool, clock, coordinator):
    pool.submit(math.sqrt, -1)
    clock.turn()
    coordinator.run()  # the suite fails on logged errors


def test_cancelling_the_result_cancels_the_job(pool, clock, coordinator):
    job = pool.submit(math.sqrt, 1)
    clock.turn()
    result = job.result()
    result.cancel()
    with pytest.raises(CancelledError):
        value(result)
    clock.turn()
    assert coordinator.cancelled == [1]
    with pytest.raises(JobCancelled, match=r"job 1 \(math:sqrt\) was cancelled"):
        value(job.result())


def test_cancel_before_it_is_sent(pool, clock, coordinator):
    clock.turn()
    kept, dropped = pool.submit(math.sqrt, 4), pool.submit(math.sqrt, 9)
    assert value(dropped.cancel()) == "queued"
    with pytest.raises(JobCancelled):
        value(dropped.accepted())
    clock.turn()
    assert len(coordinator.queue) == 1
    coordinator.run()
    assert value(kept.result()) == 2


def test_cancel_while_in_flight(pool, clock, coordinator):
    coordinator.holding = True
    job = pool.submit(math.sqrt, 4)
    clock.turn()
    state = job.cancel()
    assert pending(state)
    coordinator.answer_held()
    clock.turn()
    assert value(state) == "queued"
    assert coordinator.cancelled == [1]


def test_cancel_of_an_ended_job_tells_how_it_ended(pool, clock, coordinator):
    job = pool.submit(math.sqrt, 4)
    clock.turn()
    coordinator.run()
    assert value(job.cancel()) == "succeeded"


def test_programming_errors_are_raised_at_once(pool):
    with pytest.raises(TypeError, match="cannot be called"):
        pool.submit(17)
    with pytest.raises(TypeError, match=r"math:atan2.*missing a required argument"):
        pool.submit(math.atan2, 1)
    with pytest.raises(NotPackable, match="the argument 'x' of"):
        pool.submit(math.sqrt, (n for n in range(3)))
    with pytest.raises(BadOption, match="did you mean 'timeout'"):
        pool.options(timeot=3)
    pool.close()
    with pytest.raises(PoolClosed):
        pool.submit(math.sqrt, 4)


def test_arguments_are_packed_at_once(pool, clock, coordinator):
    numbers = [1, 2, 3]
    job = pool.submit(sum, numbers)
    numbers.append(1000)
    clock.turn()
    coordinator.run()
    assert value(job.result()) == 6


def test_a_large_argument_travels_as_a_blob(pool, clock, coordinator):
    data = bytearray(100_000)
    job = pool.submit(len, data)
    data.clear()
    clock.turn()
    coordinator.run()
    assert value(job.result()) == 100_000


def test_a_large_argument_can_be_cancelled_and_leaves_no_file(pool, clock, coordinator):
    job = pool.submit(len, bytes(100_000))
    job.cancel()
    clock.turn()
    assert coordinator.queue == []
    assert [path.name for path in pool._engine.session().spool.folder.iterdir()] == ["owner"]


def test_a_function_by_value_is_sent_once(pool, clock, coordinator):
    def double(n: int) -> int:
        return n * 2

    jobs = [pool.submit(double, n) for n in range(3)]
    clock.turn()
    assert len(coordinator.blobs) == 1
    coordinator.run()
    assert [value(job.result()) for job in jobs] == [0, 2, 4]


def test_a_missing_blob_is_sent_again(pool, clock, coordinator):
    job = pool.submit(lambda: 1)
    clock.turn()
    coordinator.run()
    coordinator.blobs.clear()
    again = pool.submit(lambda: 1)
    clock.turn()
    coordinator.run()
    assert value(job.result()) == value(again.result()) == 1


def test_a_refusal_fails_the_jobs_and_leaves_no_gap(pool, clock, coordinator):
    coordinator.refuses = QueueFull()
    job = pool.submit(math.sqrt, 4)
    clock.turn()
    with pytest.raises(QueueFull):
        value(job.result())
    with pytest.raises(QueueFull):
        value(job.accepted())
    coordinator.refuses = None
    later = pool.submit(math.sqrt, 4)
    clock.turn()
    coordinator.run()
    assert value(later.result()) == 2
    assert coordinator.sequences == [1, 1, 2]


def test_unpicklable_results_are_told(pool, clock, coordinator):
    job = pool.submit(math.sqrt, 4)
    clock.turn()
    coordinator.end(1, Ending.SUCCEEDED, Outcome(value=b"no pickle"))
    with pytest.raises(Exception, match="cannot be unpickled here"):
        value(job.result())


# -- awaiting --------------------------------------------------------------------------------------


def test_awaited_in_a_coroutine_and_yielded_to_inline_callbacks(pool, clock, coordinator):
    job = pool.submit(math.sqrt, 16)

    async def awaits() -> Any:
        return await job

    @inlineCallbacks
    def yields() -> Any:
        first = yield job.result()
        second = yield job
        return first, second

    waiting = [ensureDeferred(awaits()), yields(), ensureDeferred(awaits()), yields()]
    clock.turn()
    coordinator.run()
    assert [value(one) for one in waiting] == [4, (4, 4), 4, (4, 4)]


def test_cancelling_a_coroutine_that_awaits_a_job_cancels_it(pool, clock, coordinator):
    job = pool.submit(math.sqrt, 16)

    async def awaits() -> Any:
        return await job

    waiting = ensureDeferred(awaits())
    clock.turn()
    waiting.cancel()
    clock.turn()
    assert coordinator.cancelled == [1]
    with pytest.raises(CancelledError):
        value(waiting)


# -- its life --------------------------------------------------------------------------------------


def test_closing_fails_what_waits(pool, clock):
    result = pool.submit(math.sqrt, 4).result()
    clock.turn()
    closed = pool.close()
    value(closed)
    with pytest.raises(JobCancelled, match="the pool was closed"):
        value(result)


def test_closing_with_grace_waits_for_the_jobs(pool, clock, coordinator):
    result = pool.submit(math.sqrt, 4).result()
    clock.turn()
    closed = pool.close(grace=None)
    assert pending(closed)
    coordinator.run()
    assert value(result) == 2
    value(closed)


def test_a_close_may_be_hurried(pool, clock, coordinator):
    result = pool.submit(math.sqrt, 4).result()
    clock.turn()
    closed = pool.close(grace=None)
    clock.advance(3600)
    assert pending(closed)
    also = pool.close(grace=2)
    clock.advance(1.9)
    assert pending(closed)
    clock.advance(0.2)
    assert value(closed) is None
    assert value(also) is None
    with pytest.raises(JobCancelled):
        value(result)
    assert clock.getDelayedCalls() == []


def test_grace_ends(pool, clock):
    pool.submit(math.sqrt, 4)
    clock.turn()
    closed = pool.close(grace=3)
    clock.advance(2.9)
    assert pending(closed)
    clock.advance(0.2)
    value(closed)


def test_it_closes_when_its_reactor_stops(pool, clock):
    pool.submit(math.sqrt, 4)
    phase, event, stop = clock.trigger
    assert (phase, event) == ("before", "shutdown")
    value(stop())
    with pytest.raises(PoolClosed):
        pool.submit(math.sqrt, 4)
