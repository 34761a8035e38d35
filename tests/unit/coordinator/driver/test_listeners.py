"""Output of jobs, on its way to whoever listens."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.protocol.errors import Disconnected, NoSuchJob, TooMany
from ampacity.protocol.ids import JobId, SessionId
from ampacity.protocol.outcomes import Ending, JobLog, StreamLog, pack_log

LOG = JobLog(stdout=StreamLog(head=b"so far"))


def running(house: Any, **spec: Any) -> tuple[Any, Any]:
    client, worker = house.client(), house.worker()
    house.submit(client, **spec)
    house.turn()
    return client, worker


def prints(worker: Any, data: bytes, stream: int = 1, job: int = 1) -> Any:
    """A job prints, from where it was."""
    offset = worker.printed[job, stream]
    worker.printed[job, stream] += len(data)
    return worker.events.output(JobId(job), stream, offset, data)


def test_the_submitter_is_attached_from_the_start_if_it_wants(house: Any) -> None:
    client, worker = running(house, attach=True)
    assert house.now(prints(worker, b"a")) is True
    assert house.now(prints(worker, b"b", 2)) is True
    assert client.printed == [(1, 1, 0, b"a"), (1, 2, 0, b"b")]
    assert worker.attached == []


def test_where_nobody_listens_the_worker_is_told(house: Any) -> None:
    client, worker = running(house)
    assert house.now(prints(worker, b"a")) is False
    assert house.now(prints(worker, b"a", job=9)) is False
    assert client.printed == []


def test_the_outcome_comes_after_all_of_the_output(house: Any) -> None:
    client, worker = running(house, attach=True)
    client.answers = False
    prints(worker, b"last words")
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
    worker.printed[1, 1] = len(b"so far")
    house.now(prints(worker, b"more"))
    assert client.printed == other.printed == [(1, 1, 0, b"more")]


def test_output_goes_on_until_the_last_listener_has_left(house: Any) -> None:
    client, worker = running(house)
    attached = client.session.attach(JobId(1), True)
    worker.attached[0][2].callback(JobLog())
    house.now(attached)
    assert house.now(prints(worker, b"a")) is True
    house.now(client.session.detach(JobId(1)))
    assert house.now(prints(worker, b"b")) is False
    assert client.printed == [(1, 1, 0, b"a")]


def test_a_submitter_can_detach(house: Any) -> None:
    client, worker = running(house, attach=True)
    house.now(client.session.detach(JobId(1)))
    assert house.now(prints(worker, b"a")) is False


def test_a_listener_that_does_not_want_more_is_detached(house: Any) -> None:
    client, worker = running(house, attach=True)
    client.answers = False
    taken = prints(worker, b"a")
    assert house.waits(taken)
    client.unanswered.pop().callback(False)
    assert house.now(taken) is False
    assert house.now(prints(worker, b"b")) is False
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
    assert client.printed == [(1, 1, 0, b"so far")]
    worker.printed[1, 1] = len(b"so far")
    house.now(prints(worker, b", and more"))
    assert client.printed[1:] == [(1, 1, 6, b", and more")]


def test_a_session_that_has_left_does_not_listen(house: Any) -> None:
    _, worker = running(house)
    other = house.client("t")
    attached = other.session.attach(JobId(1), True)
    worker.attached[0][2].callback(JobLog())
    house.now(attached)
    house.driver.leave_session(SessionId(b"t"), other, True)
    house.turn()
    assert house.now(prints(worker, b"a")) is False


def test_what_comes_twice_from_a_worker_is_told_once(house: Any) -> None:
    client, worker = running(house, attach=True)
    house.now(prints(worker, b"one"))
    assert house.now(worker.events.output(JobId(1), 1, 0, b"one")) is True
    assert house.now(worker.events.output(JobId(1), 1, 0, b"one two")) is True
    assert client.printed == [(1, 1, 0, b"one"), (1, 1, 3, b" two")]


def test_another_attempt_prints_from_its_beginning(house: Any) -> None:
    client, worker = running(house, attach=True)
    house.now(prints(worker, b"one"))
    worker.finish(1, ending=Ending.LOST)
    house.turn()
    assert house.now(worker.events.output(JobId(1), 1, 0, b"again")) is True
    assert client.printed == [(1, 1, 0, b"one"), (1, 1, 3, b"again")]


def test_who_attaches_is_not_told_what_its_log_holds(house: Any) -> None:
    client, worker = running(house, attach=True)
    other = house.client("t")
    attached = other.session.attach(JobId(1), True)
    worker.attached[0][2].callback(LOG)
    house.now(attached)
    assert house.now(worker.events.output(JobId(1), 1, 3, b"far, and more")) is True
    assert other.printed == [(1, 1, 0, b", and more")]
    assert client.printed == [(1, 1, 0, b"far, and more")]


def test_output_waits_for_a_session_that_comes_back(house: Any) -> None:
    client, worker = running(house, attach=True)
    client.answers = False
    first = prints(worker, b"one")
    house.driver.leave_session(SessionId(b"s"), client, False)
    client.unanswered.pop().errback(Disconnected())
    second = prints(worker, b"two")
    worker.finish(1)
    house.turn(3)
    assert house.waits(first)
    assert house.waits(second)
    again = house.client()
    house.turn(3)
    assert again.printed == [(1, 1, 0, b"one"), (1, 1, 3, b"two")]
    assert house.now(first) is house.now(second) is True
    assert again.jobs == [1]
    house.turn()
    assert not house.driver.listeners


def test_an_answer_over_the_old_connection_counts(house: Any) -> None:
    client, worker = running(house, attach=True)
    client.answers = False
    taken = prints(worker, b"one")
    again = house.client()
    house.turn()
    client.unanswered.pop().callback(True)
    assert house.now(taken) is True
    assert house.now(prints(worker, b"two")) is True
    assert again.printed == [(1, 1, 0, b"one"), (1, 1, 3, b"two")]


def test_a_session_that_is_away_for_too_long_listens_no_more(house: Any) -> None:
    client, worker = running(house, attach=True)
    house.now(prints(worker, b"one"))
    house.driver.leave_session(SessionId(b"s"), client, False)
    taken = prints(worker, b"two")
    assert house.waits(taken)
    house.later(house.driver.scheduler.state.settings.session_grace + 1)
    house.turn()
    assert house.now(taken) is False
    again = house.client()
    assert house.now(prints(worker, b"three")) is False
    worker.finish(1)
    house.turn(3)
    assert again.jobs == [1]
    assert not house.driver.listeners


def test_jobs_of_others_cannot_be_attached_to(house: Any) -> None:
    running(house)
    other = house.client("t", client="other")
    with pytest.raises(NoSuchJob):
        house.now(other.session.attach(JobId(1), True))
    with pytest.raises(NoSuchJob):
        house.now(other.session.attach(JobId(99), True))


def test_a_session_listens_to_so_many_jobs(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ampacity.coordinator.listeners.LISTENED", 3)
    client = house.client()
    house.submit(client, 5)
    house.turn()
    waiting = [client.session.attach(JobId(1), True) for _ in range(3)]
    with pytest.raises(TooMany, match="as many as it may"):
        house.now(client.session.attach(JobId(2), True))
    assert house.now(client.session.attach(JobId(2), False)) == (JobLog(), False)
    client.session.cancel([JobId(1)])
    house.turn()
    assert [house.now(one) for one in waiting] == [(JobLog(), False)] * 3
    assert house.waits(client.session.attach(JobId(2), True))


def test_who_waited_over_a_connection_that_is_gone_waits_no_more(house: Any) -> None:
    client = house.client()
    house.submit(client)
    house.turn()
    client.session.attach(JobId(1), True)
    house.driver.leave_session(SessionId(b"s"), client, False)
    house.client()
    house.turn(3)
    assert not house.driver.listeners


def test_a_log_that_is_none_is_empty(house: Any) -> None:
    client, worker = running(house)
    late = client.session.attach(JobId(1), True)
    worker.attached[0][2].errback(NoSuchJob())
    worker.finish(1, log=b"no log")
    house.turn()
    assert house.now(late) == (JobLog(), False)
    assert house.now(client.session.attach(JobId(1), True)) == (JobLog(), False)
