"""Sessions whose coordinator goes, comes back, or says things twice."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
from ampacity.client.job import Job
from ampacity.protocol.errors import (
    CoordinatorLost,
    Disconnected,
    NoSuchJob,
    PoolClosed,
)
from ampacity.protocol.ids import JobId
from ampacity.protocol.limits import FRAME_JOBS
from ampacity.protocol.outcomes import Delivery, Ending, Outcome, pack_outcome
from twisted.internet.defer import Deferred, fail, succeed

from .waiting import SPEC, Waiting, submit, value

FOUR, NINE = (pickle.dumps(((number,), {})) for number in (4, 9))


def reconnect(session: Any, coordinator: Any, first_unseen: int | None = None) -> None:
    """Lose the connection and have another; the far side remembers the frames it has accepted."""
    session.disconnected()
    seen = max(coordinator.frames, default=0) + 1
    session.meet(b"s" * 16)
    session.connected(coordinator, seen if first_unseen is None else first_unseen)


# -- a coordinator that comes back ----------------------------------------------------------------


def test_everything_that_is_delivered_twice_is_told_once(session, clock, coordinator):
    entries = submit(session, 3)
    clock.turn()
    outcomes = [Delivery(JobId(n), Ending.SUCCEEDED, b"") for n in (1, 2, 3, 99)]
    assert value(session.delivered(outcomes)) is None
    assert value(session.delivered(outcomes)) is None
    assert [entry.told for entry in entries] == [[Ending.SUCCEEDED]] * 3
    assert not session._early  # nothing is on its way that could be meant


def test_outcomes_nobody_waits_for_are_not_kept(session, clock, coordinator):
    coordinator.holding = True
    submit(session)
    clock.turn()
    session.delivered([Delivery(JobId(n), Ending.SUCCEEDED, b"") for n in range(5000, 6000)])
    assert session._early
    coordinator.answer_held()
    assert not session._early


def test_a_busy_session_keeps_none_for_ever(session, clock, coordinator):
    """There is always a frame on its way, and it is always another one."""
    coordinator.holding = True
    submit(session)
    clock.turn()
    for n in range(5000, 5100):
        session.delivered([Delivery(JobId(n), Ending.SUCCEEDED, b"")])
        held, coordinator.held = coordinator.held, []
        submit(session)
        clock.turn()
        for waiting, answer in held:
            waiting.callback(answer)
    assert len(session._early._until) <= 2
    coordinator.answer_held()


def test_the_outcome_and_the_output_of_a_job_whose_id_was_lost(session, clock, coordinator):
    """Accepted; the answer was lost with its connection, and so was the first of the output."""
    coordinator.holding = True
    (entry,) = submit(session)
    clock.turn()
    said: list[bytes] = []

    def accepted(job: Any) -> None:
        entry.id = job
        session.following[job] = follow

    def follow(stream: int, data: bytes) -> Deferred[bool]:
        said.append(data)
        return succeed(True)

    entry.was_accepted = accepted
    lost = session.output(JobId(1), 1, 0, b"he")
    assert not lost.called
    reconnect(session, coordinator)
    assert value(lost) is False
    first = session.output(JobId(1), 1, 0, b"hello ")
    second = session.output(JobId(1), 1, 6, b"world")
    session.delivered([Delivery(JobId(1), Ending.SUCCEEDED, b"")])
    assert not first.called
    assert entry.told == []
    coordinator.answer_held()
    assert (value(first), value(second)) == (True, True)
    assert said == [b"hello ", b"world"]
    assert entry.told == [Ending.SUCCEEDED]
    assert coordinator.sequences == [1, 1]


def test_output_that_is_for_nobody_is_refused(session, clock, coordinator):
    assert value(session.output(JobId(5), 1, 0, b"x")) is False
    coordinator.holding = True
    submit(session)
    clock.turn()
    unclear = session.output(JobId(99), 1, 0, b"x")
    coordinator.answer_held()
    assert value(unclear) is False


def test_what_is_waited_for_is_watched_again_until_it_has_ended(session, clock, coordinator):
    own = submit(session, 2)
    keyed = submit(session, 1, key="night")
    found = [Waiting(), Waiting()]
    clock.turn()
    session.expect(JobId(500), found[0])
    session.expect(JobId(501), found[1])
    clock.turn()
    assert sorted(coordinator.watched) == [500, 501]
    coordinator.watched.clear()
    session.delivered([Delivery(JobId(501), Ending.FAILED, b"")])
    reconnect(session, coordinator)
    clock.turn()
    # those of its own are delivered unasked; a key may name another session's job
    assert sorted(coordinator.watched) == [keyed[0].id, 500]
    coordinator.watched.clear()
    session.delivered([Delivery(JobId(n), Ending.SUCCEEDED, b"") for n in (500, keyed[0].id)])
    reconnect(session, coordinator)
    clock.turn()
    assert coordinator.watched == []
    assert session.requests.watched == set()
    assert found[0].told == [Ending.SUCCEEDED]
    assert [entry.told for entry in own] == [[], []]


def test_a_session_that_was_forgotten_asks_for_its_own_jobs(session, clock, coordinator):
    entries = submit(session, 3)
    clock.turn()
    reconnect(session, coordinator, first_unseen=1)
    clock.turn()
    assert sorted(coordinator.watched) == [1, 2, 3]
    assert [entry.told for entry in entries] == [[], [], []]


def test_a_watch_that_goes_with_its_connection_is_asked_once_more(session, clock, coordinator):
    from ampacity.protocol.errors import Disconnected

    asked: list[Any] = []
    answers = [fail(Disconnected()), succeed([7])]

    def watch(jobs: Any) -> Any:
        asked.append(list(jobs))
        return answers[len(asked) - 1]

    coordinator.watch = watch
    entry = Waiting()
    session.expect(JobId(7), entry)
    clock.turn()
    assert entry.told == []
    reconnect(session, coordinator)
    clock.turn()
    assert asked == [[7], [7]]
    assert isinstance(entry.told[0], NoSuchJob)


def test_another_store_is_not_asked_about_jobs_of_the_one_before(session, clock, coordinator):
    (entry,) = submit(session)
    clock.turn()
    session.disconnected()
    cancelled = session.cancel(entry)
    asked = session.requests.call(lambda c: c.cancel([JobId(1)]))
    anywhere = session.requests.call(lambda c: c.query("status", {}), everywhere=True)
    failed: list[Any] = []
    for deferred in (cancelled, asked):
        deferred.addErrback(lambda failure: failed.append(failure.type))
    clock.turn()
    coordinator.answers["status"] = {"queued": 0}
    session.meet(b"t" * 16)
    session.connected(coordinator, 1)
    clock.turn()
    assert failed == [CoordinatorLost, CoordinatorLost]
    assert coordinator.cancelled == []
    assert isinstance(entry.told[0], CoordinatorLost)
    assert value(anywhere) == {"queued": 0}


def test_a_store_without_numbers_of_ours_counts_anew(session, clock, coordinator):
    submit(session, 3 * FRAME_JOBS)
    clock.turn()
    assert coordinator.sequences == [1, 2, 3]
    session.disconnected()
    coordinator.sequences.clear()
    coordinator.frames.clear()
    (entry,) = submit(session)
    session.meet(b"t" * 16)
    assert isinstance(entry.told[0], CoordinatorLost)  # it may be meant for the other
    session.connected(coordinator, 1)
    submit(session)
    clock.turn()
    assert coordinator.sequences == [1]


def test_closing_tells_what_was_accepted_from_what_was_not(session, clock, coordinator):
    (accepted,) = submit(session)
    clock.turn()
    session.disconnected()
    (waiting,) = submit(session)
    clock.turn()
    session.end_all(PoolClosed("it goes on"), PoolClosed("nobody has it"))
    assert [str(entry.told[0]) for entry in (accepted, waiting)] == ["it goes on", "nobody has it"]


def test_results_that_are_not_read_are_bounded(pool, clock, coordinator):
    """A program that reads slowly: as many as may be in flight wait here, the rest is not made."""
    pulled = 0

    def items() -> Any:
        nonlocal pulled
        for n in range(100_000):
            pulled += 1
            yield n

    group = pool.map(math.sqrt, items(), in_flight=256)
    stream = aiter(group)
    for _ in range(50):
        clock.turn()
        coordinator.run()
    assert len(group._ends) <= 256
    assert pulled <= 257
    stream.leave()


def test_bodies_are_let_go_when_they_are_read(pool, clock, coordinator):
    job = pool.submit(math.sqrt, 4)
    result = job.result()
    clock.turn()
    body = pack_outcome(Outcome(value=pickle.dumps(2.0)))
    coordinator.end(1, Ending.SUCCEEDED, Outcome(value=pickle.dumps(2.0)))
    assert value(result) == 2.0
    assert body
    assert job._body == b""


# -- connections that come and go ------------------------------------------------------------------


def test_what_was_not_answered_is_sent_again(session, clock, coordinator):
    coordinator.holding = True
    jobs = [Job(session, "sqrt") for _ in range(2)]
    session.submit(jobs[0], SPEC, FOUR)
    clock.turn()
    session.disconnected()
    session.submit(jobs[1], SPEC, NINE)
    clock.turn()
    coordinator.holding = False
    session.meet(b"s" * 16)
    session.connected(coordinator, 2)
    clock.turn()
    assert coordinator.sequences == [1, 1, 2]
    coordinator.run()
    assert [value(job.result()) for job in jobs] == [2, 3]


def test_an_outcome_may_come_before_the_answer(session, clock, coordinator):
    coordinator.holding = True
    job: Job[float] = Job(session, "sqrt")
    session.submit(job, SPEC, FOUR)
    clock.turn()
    coordinator.run()
    result = job.result()
    assert not result.called
    coordinator.answer_held()
    assert value(result) == 2


def test_another_store_fails_what_was_submitted(session, clock, coordinator):
    accepted, unsent = Job(session, "sqrt"), Job(session, "sqrt")
    session.submit(accepted, SPEC, FOUR)
    clock.turn()
    before = session.id
    session.disconnected()
    session.submit(unsent, SPEC, FOUR)
    session.meet(b"t" * 16)
    for job in (accepted, unsent):
        with pytest.raises(CoordinatorLost):
            value(job.result())
    assert session.id != before


def test_questions_are_asked_again_after_a_reconnection(session, clock, coordinator):
    lost: Deferred[Any] = Deferred()
    coordinator.answers["status"] = lambda _: lost
    answer = session.requests.call(lambda c: c.query("status", {}))
    session.disconnected()
    lost.errback(Disconnected())
    assert not answer.called
    coordinator.answers["status"] = {"queued": 0}
    session.connected(coordinator, 1)
    assert value(answer) == {"queued": 0}
