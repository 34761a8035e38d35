"""The account of the virtual cluster finds what is wrong in a history."""

from __future__ import annotations

import pytest
from ampacity.protocol.errors import CoordinatorLost
from ampacity.protocol.ids import Attempt, JobId
from ampacity.protocol.jobs import JobSpec
from ampacity.protocol.outcomes import Ending, Outcome, pack_outcome
from ampacity.testing.timeline import START, Timeline
from ampacity.tests.virtual.history import Execution, History, Ticket
from ampacity.tests.virtual.work import Doing, Script, Way

JOB = JobId(7)
SCRIPT = Script(0, JobSpec(kind="import", target="m:f"), (Doing(Way.SUCCEED, 1.0),))
KEYED = Script(1, SCRIPT.spec, SCRIPT.doings, key="k")


class Story:
    """A history, told step by step; as long as nothing is said to be wrong, it is right."""

    def __init__(self, script: Script = SCRIPT) -> None:
        self.history = History(Timeline())
        self.script = script

    def submit(self, client: str = "c0.1", job: JobId = JOB) -> Ticket:
        ticket = Ticket(self.history, client, self.script, 0)
        self.history.tickets.append(ticket)
        ticket.was_accepted(job)
        return ticket

    def execute(self, number: int = 1, how: str = "succeeded", worker: str = "w0.1") -> Execution:
        at = Attempt(1, number)
        execution = self.history.began(self.script, JOB, at, worker)
        self.history.timeline.now += 1.0
        self.history.ended(execution, how)
        return execution

    def wrong(self) -> list[str]:
        return self.history.check(max_losses=3)


def body(execution: Execution) -> bytes:
    return pack_outcome(Outcome(tail=execution.mark))


def test_all_is_well() -> None:
    story = Story()
    story.submit().has_ended(Ending.SUCCEEDED, body(story.execute()))
    assert not story.wrong()


def test_lost_and_delivered_twice() -> None:
    story = Story()
    ticket = story.submit()
    execution = story.execute()
    assert "waits for ever" in story.wrong()[0]
    ticket.has_ended(Ending.SUCCEEDED, body(execution))
    ticket.has_failed(CoordinatorLost())
    assert "delivered 2 times" in story.wrong()[0]


def test_an_outcome_from_nowhere() -> None:
    story = Story()
    ticket = story.submit()
    story.execute(how="failed")
    ticket.has_ended(Ending.SUCCEEDED, b"")
    assert "made by no execution" in story.wrong()[0]


def test_a_stale_outcome() -> None:
    story = Story()
    ticket = story.submit()
    first = story.execute()
    story.history.trouble("w0")
    story.execute(2)
    ticket.has_ended(Ending.SUCCEEDED, body(first))
    assert "stale" in story.wrong()[0]


@pytest.mark.parametrize(
    ("how", "fault"), [("succeeded", None), ("killed", "w1"), ("failed", None)]
)
def test_an_execution_too_many(how: str, fault: str | None) -> None:
    story = Story()
    ticket = story.submit()
    if fault is not None:
        story.history.trouble(fault)
    story.execute(1, how)
    ticket.has_ended(Ending.SUCCEEDED, body(story.execute(2)))
    assert "without a fault" in story.wrong()[0]


def test_an_old_fault_excuses_nothing() -> None:
    story = Story()
    ticket = story.submit()
    story.history.troubles.append((START - 1000.0, START - 900.0, "*"))
    story.execute(1, "killed")
    ticket.has_ended(Ending.SUCCEEDED, body(story.execute(2)))
    assert "without a fault" in story.wrong()[0]


def test_an_attempt_that_is_executed_twice() -> None:
    story = Story()
    ticket = story.submit()
    story.history.trouble("*")
    story.execute(1, "killed")
    ticket.has_ended(Ending.SUCCEEDED, body(story.execute(1)))
    assert "an attempt was executed twice" in story.wrong()[0]


def test_too_many_losses_and_too_few() -> None:
    story = Story()
    ticket = story.submit()
    for number in range(1, 5):
        story.execute(number, "lost")
    ticket.has_ended(Ending.CRASHED, b"")
    assert "has lost 4 children" in story.wrong()[0]
    early = Story()
    crashed = early.submit()
    early.execute(1, "lost")
    crashed.has_ended(Ending.CRASHED, b"")
    assert "crashed after 1 losses" in early.wrong()[0]


def test_an_end_that_nobody_asked_for() -> None:
    story = Story()
    story.submit().has_ended(Ending.CANCELLED, b"")
    assert "nobody has asked" in story.wrong()[0]
    other = Story()
    other.submit().has_ended(Ending.TIMED_OUT, b"")
    assert "without a limit" in other.wrong()[0]


def test_a_key_is_one_job() -> None:
    story = Story(KEYED)
    for number in (7, 8):
        ticket = story.submit(job=JobId(number))
        ticket.given_up = True
    assert "is 2 jobs" in story.wrong()[0]


def test_an_assignment_that_comes_twice() -> None:
    story = Story()
    story.history.held("w0.1", JOB, Attempt(1, 1), twice=True)
    assert "assigned twice" in story.wrong()[0]
