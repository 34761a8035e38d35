"""The driver: first the store, then the world; frames, windows, timers."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.coordinator.acknowledgements import WAIT
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.errors import (
    Disconnected,
    Malformed,
    NoSuchBlob,
    NotAllowed,
    StorageFull,
    TooLarge,
)
from ampacity.protocol.ids import Attempt, ClientId, JobId, SessionId
from ampacity.protocol.jobs import BlobRef, Submission
from ampacity.protocol.limits import FRAME_BYTES, FRAME_JOBS, FRAMES_IN_FLIGHT
from ampacity.protocol.ports import Accepted, Beginning, Holding


def begin(worker: Any, job: int = 1) -> None:
    attempt = next(a.attempt for a in worker.assigned if a.job == job)
    worker.events.begun([Beginning(JobId(job), attempt, 1.0)])


def test_a_job_goes_through(house: Any) -> None:
    client, worker = house.client(), house.worker()
    accepted = house.submit(client, payload=b"arguments")
    house.turn()
    assert house.now(accepted) == Accepted(ids=((1, 1),))
    assert [(a.job, a.attempt, a.payload) for a in worker.assigned] == [
        (1, Attempt(1, 1), b"arguments")
    ]
    begin(worker)
    recorded = worker.finish(1)
    house.turn()
    house.now(recorded)
    assert [tuple(d) for d in client.frames[0]] == [(1, 1, b"body1")]
    house.later(WAIT)
    assert house.driver.scheduler.state.sessions[SessionId(b"s")].outbox == {}


def test_nothing_is_told_before_it_is_stored(houses: Any, delayed_store: Any) -> None:
    house = houses(store=delayed_store)
    client, worker = house.client(), house.worker()
    house.turn()
    delayed_store.let_go()
    accepted = house.submit(client)
    house.turn()
    assert not accepted.called
    assert worker.assigned == []
    delayed_store.let_go()
    assert house.now(accepted).ids == ((1, 1),)
    recorded = worker.finish(1)
    house.turn()
    assert not recorded.called
    assert client.frames == []
    delayed_store.let_go()
    house.now(recorded)
    assert client.jobs == [1]
    house.turn()


def test_what_comes_during_a_commit_is_committed_together(houses: Any, delayed_store: Any) -> None:
    house = houses(store=delayed_store)
    client = house.client()
    for _ in range(3):
        house.submit(client)
        house.turn()
    assert len(delayed_store.commits) == 1
    delayed_store.let_go()
    house.turn()
    assert len(delayed_store.commits) == 1
    assert len([w for w in delayed_store.commits[0][0] if type(w).__name__ == "JobsAdded"]) == 2
    delayed_store.let_go()


def test_what_cannot_be_stored_is_tried_again_and_new_jobs_are_refused(
    houses: Any, delayed_store: Any, logged_errors: Any
) -> None:
    house = houses(store=delayed_store)
    client = house.client()
    accepted = house.submit(client)
    house.turn()
    writes, commit = delayed_store.commits.pop()
    commit.errback(OSError("disk full"))
    assert len(logged_errors(OSError)) == 1
    assert not accepted.called
    with pytest.raises(StorageFull):
        house.now(house.submit(client))
    house.clock.advance(1.0)
    assert delayed_store.commits[0][0] == writes
    delayed_store.let_go()
    assert house.now(accepted).ids == ((1, 1),)
    again = house.submit(client)
    house.turn()
    delayed_store.let_go()
    assert house.now(again).ids == ((2, 1),)


def test_one_turn_makes_one_frame_for_a_worker(house: Any) -> None:
    client, worker = house.client(), house.worker(slots=10)
    house.submit(client, 2)
    house.submit(client, 3)
    house.turn()
    assert [len(frame) for frame in worker.frames] == [5]


def test_frames_are_bounded_in_jobs_and_bytes(house: Any) -> None:
    client, worker = house.client(), house.worker(slots=2000)
    house.submit(client, FRAME_JOBS + 4)
    house.turn(3)
    assert len(worker.assigned) == FRAME_JOBS + 4
    big = bytes(FRAME_BYTES // 2)
    worker.finish(*range(1, FRAME_JOBS + 2))
    worker.finish(FRAME_JOBS + 2, FRAME_JOBS + 3, FRAME_JOBS + 4, body=big)
    house.turn()
    assert [len(frame) for frame in client.frames] == [FRAME_JOBS, 3, 1]
    assert client.jobs == list(range(1, FRAME_JOBS + 5))


def test_a_client_that_does_not_answer_gets_a_bounded_number_of_frames(house: Any) -> None:
    client, worker = house.client(answers=False), house.worker(slots=100)
    house.submit(client, 30)
    house.turn()
    for job in range(1, 31):
        worker.finish(job)
        house.turn()
    assert len(client.frames) == FRAMES_IN_FLIGHT
    client.unanswered.pop(0).callback(None)
    assert client.jobs == list(range(1, 31)), "the rest goes in one frame"
    while client.unanswered:
        client.unanswered.pop(0).callback(None)
    house.turn()


def test_what_was_not_answered_is_delivered_to_the_next_connection(house: Any) -> None:
    client, worker = house.client(answers=False), house.worker(slots=2)
    house.submit(client, 2)
    house.turn()
    worker.finish(1, 2)
    house.turn()
    house.driver.leave_session(SessionId(b"s"), client, False)
    client.unanswered[0].errback(Disconnected())
    again = house.client()
    assert house.sequence == 2
    house.turn()
    assert again.jobs == [1, 2]
    house.turn(2)
    third = house.client()
    house.turn()
    assert third.jobs == []


def test_an_old_connection_says_nothing_more(house: Any) -> None:
    old = house.client()
    house.client()
    house.driver.leave_session(SessionId(b"s"), old, True)
    old_worker = house.worker()
    house.worker()
    house.driver.leave("w", old_worker, True)
    house.turn()
    with pytest.raises(Disconnected):
        house.now(old_worker.events.finished([]))
    assert list(house.driver.workers) == ["w"]
    assert len(house.driver.sessions) == 1


def test_the_session_of_another_client_is_refused(house: Any) -> None:
    house.client()
    with pytest.raises(NotAllowed):
        house.driver.open_session(ClientId("other"), SessionId(b"s"), house.client("t"))


def test_the_lease_of_a_lost_worker_ends_by_the_clock(house: Any) -> None:
    client, worker = house.client(), house.worker()
    house.submit(client)
    house.turn()
    house.driver.leave("w", worker, False)
    other = house.worker("v")
    house.later(4.9)
    assert other.assigned == []
    house.later(0.2)
    house.turn()
    assert [a.attempt.number for a in other.assigned] == [2]
    assert list(house.driver.workers) == ["v"]


def test_a_worker_returns_to_what_it_holds(house: Any) -> None:
    client, worker = house.client(), house.worker()
    house.submit(client)
    house.turn()
    house.driver.leave("w", worker, False)
    held = [Holding(a.job, a.attempt) for a in worker.assigned]
    again = house.worker(held=[*held, Holding(JobId(9), Attempt(1, 1))])
    house.turn()
    again.frames = worker.frames
    again.finish(1)
    house.turn()
    assert client.jobs == [1]


def test_ends_and_retracts_reach_the_worker_after_the_assignment(house: Any) -> None:
    client, worker = house.client(), house.worker()
    house.submit(client, deadline=3.0)
    states = client.session.cancel([JobId(1)])
    house.turn()
    assert house.now(states) == {1: "sent"}
    assert len(worker.assigned) == 1
    assert worker.told == ["end 1/1 cancelled"]


def test_many_jobs_are_cancelled_a_slice_a_turn(house: Any) -> None:
    client = house.client()
    house.submit(client, 3000)
    states = client.session.cancel([JobId(job) for job in range(1, 3001)])
    house.step(5)
    assert house.waits(states)
    house.step(30)
    assert len(house.now(states)) == 3000


def test_a_worker_that_cannot_be_told_has_left(house: Any, logged_errors: Any) -> None:
    client, worker, other = house.client(), house.worker(), house.worker("v")

    def broken(assignments: Any) -> None:
        raise ValueError("broken")

    worker.assign = broken
    house.submit(client, 2)
    house.turn()
    assert len(other.assigned) == 1
    assert len(logged_errors(ValueError)) == 1
    assert worker.told == ["given up"]
    assert list(house.driver.workers) == ["v"]
    for job in (2, 1):
        other.finish(job)
        house.turn()
    assert client.jobs == [2, 1]


@pytest.mark.parametrize("order", ["end", "retract"])
def test_the_begun_attempts_of_such_a_worker_count_a_loss(
    house: Any, logged_errors: Any, order: str
) -> None:
    client, worker = house.client(), house.worker()
    house.submit(client)
    house.turn()
    if order == "end":
        worker.begin(1)
    setattr(worker, order, None)
    client.session.cancel([JobId(1)], order == "retract")
    house.turn()
    assert len(logged_errors(TypeError)) == 1
    assert worker.told == ["given up"]
    assert client.jobs == [1]


def test_groups_retries_and_watches(house: Any) -> None:
    client, other, worker = house.client(), house.client("t"), house.worker()
    closed = client.session.close_group(1, 0)
    accepted = house.submit(client)
    watched = other.session.watch([JobId(1), JobId(7)])
    house.turn()
    assert house.now(closed) is None
    assert house.now(accepted).ids == ((1, 1),)
    assert house.now(watched) == [7]
    worker.finish(1)
    house.turn()
    assert client.jobs == other.jobs == [1]
    again = client.session.retry([JobId(1)])
    house.turn()
    assert house.now(again) == {1: 2}


def test_damaged_submissions_are_refused(house: Any) -> None:
    client = house.client()
    with pytest.raises(Malformed):
        house.now(client.session.submit(1, [Submission(b"\xc0", b"")], None))


def test_a_name_that_is_too_long_is_refused(house: Any) -> None:
    client = house.client()
    with pytest.raises(TooLarge, match="at most 200 characters"):
        house.now(house.submit(client, name="n" * 201))
    house.submit(client, name="n" * 200)
    house.turn()


def test_reload_and_shutdown(house: Any) -> None:
    client, worker = house.client(role="operator"), house.worker()
    assert house.now(client.session.reload_workers()) == 1
    assert worker.told == ["reload"]
    called: list[bool] = []
    house.driver.on_shutdown = lambda: called.append(True)
    house.now(client.session.shutdown())
    assert called == []
    house.turn()
    assert called == [True]


def test_a_driver_that_was_stopped_fails_those_who_wait(houses: Any, delayed_store: Any) -> None:
    house = houses(store=delayed_store)
    client, worker = house.client(), house.worker()
    accepted, recorded = house.submit(client), worker.events.finished([])
    house.driver.stop()
    for waiting in (accepted, recorded, house.submit(client), worker.events.finished([])):
        with pytest.raises(Disconnected):
            house.now(waiting)


# -- blobs ----------------------------------------------------------------------------------------


def stored(house: Any, folder: Any, data: bytes) -> BlobRef:
    path = folder / "value"
    path.write_bytes(data)
    blobs: BlobFolder = house.blobs
    ref: BlobRef = house.now(blobs.hash_file(path))
    return ref


def test_missing_blobs_are_asked_for(house: Any, tmp_path: Any) -> None:
    client, worker = house.client(), house.worker()
    ref = stored(house, tmp_path, b"function")
    answer = house.now(house.submit(client, kind="value", function=ref, payload=ref))
    assert answer == Accepted(missing=(ref.digest,))
    house.sequence -= 1
    house.now(client.session.put_blob(ref, tmp_path / "value"))
    accepted = house.submit(client, kind="value", function=ref, payload=ref)
    house.turn()
    assert house.now(accepted).ids == ((1, 1),)
    assert house.now(worker.events.fetch(ref)).read_bytes() == b"function"


def test_unreferenced_blobs_go_after_a_while(houses: Any, tmp_path: Any) -> None:
    house = houses(blob_keep=600.0, retain_age=100.0)
    client, worker = house.client(), house.worker()
    ref = stored(house, tmp_path, b"a result")
    house.submit(client)
    house.turn()
    house.now(worker.events.store(ref, tmp_path / "value"))
    worker.finish(1, blobs=(ref,))
    house.turn(3)
    house.clock.pump([50.0] * 3)
    assert house.now(client.session.get_blob(ref)).read_bytes() == b"a result"
    house.clock.pump([30.0] * 30)
    with pytest.raises(NoSuchBlob):
        house.now(client.session.get_blob(ref))
