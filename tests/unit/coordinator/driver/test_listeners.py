"""Output of jobs, on its way to whoever listens."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.protocol.errors import NoSuchJob
from ampacity.protocol.ids import JobId, SessionId
from ampacity.protocol.outcomes import Ending, JobLog, StreamLog, pack_log

LOG = JobLog(stdout=StreamLog(head=b"so far"))


def running(house: Any, **spec: Any) -> tuple[Any, Any]:
    client, worker = house.client(), house.worker()
    house.submit(client, **spec)
    house.turn()
    return client, worker


def test_the_submitter_is_attached_from_the_start_if_it_wants(house: Any) -> None:
    client, worker = running(house, attach=True)
    assert house.now(worker.events.output(JobId(1), 1, b"a")) is True
    assert house.now(worker.events.output(JobId(1), 2, b"b")) is True
    assert client.printed == [(1, 1, b"a"), (1, 2, b"b")]
    assert worker.attached == []


def test_where_nobody_listens_the_worker_is_told(house: Any) -> None:
    client, worker = running(house)
    assert house.now(worker.events.output(JobId(1), 1, b"a")) is False
    assert house.now(worker.events.output(JobId(9), 1, b"a")) is False
    assert client.printed == []


def test_the_outcome_comes_after_all_of_the_output(house: Any) -> None:
    client, worker = running(house, attach=True)
    client.answers = False
    worker.events.output(JobId(1), 1, b"last words")
    worker.finish(1)
    house.turn(3)
    assert client.frames == []
    client.unanswered.pop().callback(True)
    house.turn()
    assert client.jobs == [1]
    client.unanswered.pop().callback(None)
    house.turn()


def test_others_attach_and_get_what_was_printed_so_far(house: Any) -> None:
    client, worker = running(house, attach=True)
    other = house.client("t")
    attached = other.session.attach(JobId(1), True)
    worker.attached[0][2].callback(LOG)
    assert house.now(attached) == (LOG, True)
    house.now(worker.events.output(JobId(1), 1, b"more"))
    assert client.printed == other.printed == [(1, 1, b"more")]


def test_output_goes_on_until_the_last_listener_has_left(house: Any) -> None:
    client, worker = running(house)
    attached = client.session.attach(JobId(1), True)
    worker.attached[0][2].callback(JobLog())
    house.now(attached)
    assert house.now(worker.events.output(JobId(1), 1, b"a")) is True
    house.now(client.session.detach(JobId(1)))
    assert house.now(worker.events.output(JobId(1), 1, b"b")) is False
    assert client.printed == [(1, 1, b"a")]


def test_a_submitter_can_detach(house: Any) -> None:
    client, worker = running(house, attach=True)
    house.now(client.session.detach(JobId(1)))
    assert house.now(worker.events.output(JobId(1), 1, b"a")) is False


def test_a_listener_that_does_not_want_more_is_detached(house: Any) -> None:
    client, worker = running(house, attach=True)
    client.answers = False
    taken = worker.events.output(JobId(1), 1, b"a")
    assert house.waits(taken)
    client.unanswered.pop().callback(False)
    assert house.now(taken) is False
    assert house.now(worker.events.output(JobId(1), 1, b"b")) is False
    worker.finish(1)
    house.turn()


def test_to_follow_a_queued_job_is_to_wait_for_its_start(house: Any) -> None:
    client = house.client()
    house.submit(client)
    house.turn()
    assert house.now(client.session.attach(JobId(1), False)) == (JobLog(), False)
    attached = client.session.attach(JobId(1), True)
    assert house.waits(attached)
    worker = house.worker()
    house.turn()
    worker.attached[0][2].callback(JobLog())
    assert house.now(attached) == (JobLog(), True)


def test_who_waits_for_a_start_hears_of_the_end(house: Any) -> None:
    client = house.client()
    house.submit(client)
    attached = client.session.attach(JobId(1), True)
    client.session.cancel([JobId(1)])
    house.turn()
    assert house.now(attached) == (JobLog(), False)


def test_the_log_of_an_ended_job_is_stored(house: Any) -> None:
    client, worker = running(house)
    worker.finish(1, log=pack_log(LOG))
    early = client.session.attach(JobId(1), True)
    house.turn()
    assert house.now(early) == (LOG, False)
    assert house.now(client.session.attach(JobId(1), False)) == (LOG, False)


def test_a_job_that_has_just_ended_at_the_worker(house: Any) -> None:
    client, worker = running(house)
    attached = client.session.attach(JobId(1), True)
    worker.attached[0][2].errback(NoSuchJob())
    assert house.waits(attached)
    worker.finish(1, log=pack_log(LOG))
    house.turn()
    assert house.now(attached) == (LOG, False)


def test_a_follower_hears_the_next_attempt(house: Any) -> None:
    client, worker = running(house)
    attached = client.session.attach(JobId(1), True)
    worker.attached.pop()[2].callback(JobLog())
    house.now(attached)
    worker.finish(1, ending=Ending.LOST)
    house.turn()
    worker.attached.pop()[2].callback(LOG)
    assert client.printed == [(1, 1, b"so far")]
    house.now(worker.events.output(JobId(1), 1, b", and more"))
    assert client.printed[1:] == [(1, 1, b", and more")]


def test_a_session_that_is_gone_does_not_listen(house: Any) -> None:
    _, worker = running(house)
    other = house.client("t")
    attached = other.session.attach(JobId(1), True)
    worker.attached[0][2].callback(JobLog())
    house.now(attached)
    house.driver.leave_session(SessionId(b"t"), other, False)
    assert house.now(worker.events.output(JobId(1), 1, b"a")) is False


def test_jobs_of_others_cannot_be_attached_to(house: Any) -> None:
    running(house)
    other = house.client("t", client="other")
    with pytest.raises(NoSuchJob):
        house.now(other.session.attach(JobId(1), True))
    with pytest.raises(NoSuchJob):
        house.now(other.session.attach(JobId(99), True))
