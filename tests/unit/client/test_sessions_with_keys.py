"""Two submissions with one key are one job: whatever crosses what, each is told its end once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from typing import Any

import pytest
from ampacity.protocol.errors import AmpacityError, Disconnected, Refused, StorageFull
from ampacity.protocol.ids import JobId
from ampacity.protocol.jobs import JobSpec, pack_spec
from ampacity.protocol.outcomes import Delivery, Ending
from ampacity.protocol.ports import Accepted
from twisted.internet.defer import Deferred

SPEC = pack_spec(JobSpec(kind="import", target="math:sqrt"))
JOB = JobId(7)


class Submitter:
    """An entry of a session that writes down what it is told."""

    def __init__(self) -> None:
        self.id: Any = None
        self.frame: Any = None
        self.told: list[Any] = []

    def was_accepted(self, job: JobId) -> None:
        self.id = job

    def has_ended(self, ending: Ending, body: bytes) -> None:
        self.told.append((ending, body))

    def has_failed(self, error: Exception) -> None:
        self.told.append(error)


class Slow:
    """A coordinator that answers frames when the test says so, and as it says."""

    def __init__(self) -> None:
        self.waiting: dict[int, Deferred[Accepted]] = {}
        self.watched: list[JobId] = []

    def submit(self, sequence: int, submissions: Any, group: Any) -> Deferred[Accepted]:
        answer = self.waiting[sequence] = Deferred()
        return answer

    def watch(self, jobs: Sequence[JobId]) -> Deferred[list[int]]:
        self.watched.extend(jobs)
        return Deferred()

    def accept(self, sequence: int, count: int = 1, job: JobId = JOB) -> None:
        ids = tuple((job, 1) for _ in range(count))
        self.waiting.pop(sequence).callback(Accepted(ids=ids))

    def refuse(self, sequence: int, error: AmpacityError) -> None:
        self.waiting.pop(sequence).errback(error)


@pytest.fixture
def slow(session: Any) -> Slow:
    """Takes the place of the coordinator that the session has."""
    return connect(session, 1)


def connect(session: Any, next_sequence: int) -> Slow:
    slow = Slow()
    session.disconnected()
    session.connected(slow, next_sequence)
    return slow


def submit(session: Any, clock: Any, count: int = 1, key: str | None = "night") -> list[Submitter]:
    """In a frame of their own."""
    entries = [Submitter() for _ in range(count)]
    for entry in entries:
        session.submit(entry, SPEC, b"", key=key)
    clock.turn(3)
    return entries


def deliver(session: Any, job: JobId = JOB) -> None:
    session.delivered([Delivery(job, Ending.SUCCEEDED, b"the value")])


ENDED = [(Ending.SUCCEEDED, b"the value")]


def is_at_rest(session: Any) -> bool:
    kept = (session._frames, session._jobs, session._early, session.requests.watched)
    return not any(kept)


def test_an_outcome_that_crosses_the_second_submission(session: Any, slow: Slow, clock: Any):
    (first,) = submit(session, clock)
    slow.accept(1)
    (second,) = submit(session, clock)
    deliver(session)
    assert (first.told, second.told) == (ENDED, [])
    slow.accept(2)
    assert (first.told, second.told) == (ENDED, ENDED)
    assert is_at_rest(session)


@pytest.mark.parametrize("order", list(permutations(("delivery", 1, 2))))
@pytest.mark.parametrize("accepted", list(product((True, False), repeat=2)))
def test_two_frames_in_any_order(session, slow, clock, order, accepted):
    entries = [*submit(session, clock), *submit(session, clock)]
    for what in order:
        if what == "delivery":
            deliver(session)
        elif accepted[what - 1]:
            slow.accept(what)
        else:
            slow.refuse(what, StorageFull("the disk is full"))
            slow.accept(what, count=0)  # its number is taken by an empty frame
    for entry, has_it in zip(entries, accepted, strict=True):
        assert len(entry.told) == 1
        assert (entry.told == ENDED) is has_it
    assert is_at_rest(session)


@pytest.mark.parametrize("first", ["delivery", "answer"])
def test_two_in_one_frame(session, slow, clock, first):
    entries = submit(session, clock, 2)
    if first == "delivery":
        deliver(session)
        assert [entry.told for entry in entries] == [[], []]
    slow.accept(1, count=2)
    if first == "answer":
        deliver(session)
    assert [entry.told for entry in entries] == [ENDED, ENDED]
    assert is_at_rest(session)


def test_a_second_frame_that_is_younger_than_the_outcome(session: Any, slow: Slow, clock: Any):
    """It is delivered for it once more, while an older frame is on its way, too."""
    (first,) = submit(session, clock)
    slow.accept(1)
    (other,) = submit(session, clock, key=None)
    deliver(session)
    (second,) = submit(session, clock)
    deliver(session)
    slow.accept(2, job=JobId(8))
    slow.accept(3)
    assert (first.told, second.told, other.told) == (ENDED, ENDED, [])
    deliver(session, JobId(8))
    assert is_at_rest(session)


@pytest.mark.parametrize("key", ["night", None])
def test_nothing_is_kept_where_the_last_frame_is_refused(session, slow, clock, key):
    submit(session, clock, key=key)
    printed = session.output(JobId(9), 1, 0, b"text")
    deliver(session, JobId(8))
    assert session._early
    slow.refuse(1, Refused("the frame 1 was accepted long ago"))
    slow.refuse(1, Refused("the frame 1 was accepted long ago"))
    assert printed.result is False
    assert is_at_rest(session)


def test_outcomes_of_jobs_without_keys_are_not_kept(session: Any, slow: Slow, clock: Any):
    (first,) = submit(session, clock, key=None)
    slow.accept(1)
    submit(session, clock)
    deliver(session)
    assert first.told == ENDED
    assert not session._early  # no frame can name it


def test_a_busy_session_keeps_no_outcomes_of_keys_for_ever(session: Any, slow: Slow, clock: Any):
    """There is always a frame on its way, and it is always another one."""
    entries = submit(session, clock, key="0")
    for n in range(1, 200):
        entries += submit(session, clock, key=str(n))
        slow.accept(n, job=JobId(n))
        deliver(session, JobId(n))
        assert len(session._early._until) <= 2
    slow.accept(200, job=JobId(200))
    deliver(session, JobId(200))
    assert all(entry.told == ENDED for entry in entries)
    assert is_at_rest(session)


def test_an_answer_that_went_with_its_connection(session: Any, slow: Slow, clock: Any):
    """The second was accepted, and the outcome sent for it: both are lost. The first has taken
    it, so that it is not delivered unasked."""
    (first,) = submit(session, clock)
    slow.accept(1)
    deliver(session)
    (second,) = submit(session, clock)
    slow.refuse(2, Disconnected())
    slow = connect(session, 3)
    clock.turn()
    assert slow.watched == []
    slow.accept(2)
    clock.turn()
    assert slow.watched == [JOB]
    deliver(session)
    assert (first.told, second.told) == (ENDED, ENDED)
    assert is_at_rest(session)


def test_an_answer_over_the_first_connection_is_not_asked_about(
    session: Any, slow: Slow, clock: Any
):
    submit(session, clock)
    slow.accept(1)
    clock.turn()
    assert slow.watched == []
    assert session.requests.watched == {JOB}


@pytest.mark.parametrize("when", ["accepted", "ended"])
def test_who_gives_all_up_on_being_told_is_told_once(session, slow, clock, when):
    entries = submit(session, clock, 2)

    def give_up(*_: Any) -> None:
        session.end_all(AmpacityError("over"), AmpacityError("over"))

    if when == "accepted":
        entries[0].was_accepted = give_up
    else:
        entries[0].has_ended = give_up
    slow.waiting.pop(1).callback(Accepted(ids=((JOB, 2),)))
    session.delivered([Delivery(JobId(JOB + n), Ending.SUCCEEDED, b"") for n in range(2)])
    assert [str(error) for error in entries[1].told] == ["over"]
    assert is_at_rest(session)
