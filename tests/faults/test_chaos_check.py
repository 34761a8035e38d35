"""The checker finds each kind of wrongness, in histories that are wrong by one thing."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.cli.chaos_check import (
    BOUNDS,
    LOST,
    STALE,
    TWICE,
    UNEXPECTED,
    UNEXPLAINED,
    check,
)
from ampacity.cli.chaos_history import (
    ALL_WORKERS,
    Accepted,
    Cancelling,
    Delivered,
    Done,
    Found,
    Invoked,
    Refused,
    Started,
    Struck,
    Unknown,
)
from ampacity.cli.chaos_strikes import AFTERMATH, COORDINATOR
from ampacity.protocol.outcomes import Ending

AGENT = 500
KINDS = ("short", "fails", "endless", "cancelled", "crashes", "flaky", "item")


def kinds_of(written: Any) -> list[str]:
    return [wrong.kind for wrong in check(written.plan, written.events).wrongs]


def test_a_run_without_a_fault_is_proved(write: Any) -> None:
    written = write(*KINDS)
    verdict = check(written.plan, written.events)
    assert verdict.proved
    assert verdict.submitted == verdict.planned == len(KINDS)
    assert verdict.endings == {
        "succeeded": 3,
        "failed": 1,
        "timed out": 1,
        "cancelled": 1,
        "crashed": 1,
    }
    assert verdict.executions == 4 + 3 + 3
    assert verdict.again == 0


def test_the_endings_are_those_of_the_protocol() -> None:
    from ampacity.cli.chaos_check import ENDINGS

    assert set(ENDINGS) == {ending.words for ending in Ending} - {"lost"}


# -- lost ------------------------------------------------------------------------------------------


def test_an_accepted_job_that_the_coordinator_does_not_know(write: Any) -> None:
    written = write("short", "short")
    written.drop(Found, 1)
    assert LOST in kinds_of(written)


@pytest.mark.parametrize("state", ["queued", "sent", "running", "delayed"])
def test_an_accepted_job_that_has_not_ended(write: Any, state: str) -> None:
    written = write("short")
    written.change(Found, 0, ending=state, run=None, value=None)
    assert kinds_of(written) == [LOST]
    assert not check(written.plan, written.events).proved


def test_an_outcome_that_nobody_was_told(write: Any) -> None:
    written = write("short")
    written.drop(Delivered, 0)
    assert kinds_of(written) == [LOST]


def test_a_submission_that_a_program_that_has_ended_well_never_heard_of(write: Any) -> None:
    written = write("short")
    for kind in (Accepted, Delivered, Found, Started):
        written.drop(kind, 0)
    assert kinds_of(written) == [LOST]


def test_a_submission_whose_program_was_killed_before_the_answer(write: Any) -> None:
    written = write("short")
    for kind in (Accepted, Delivered, Found, Started, Done):
        written.drop(kind, 0)
    written.events[-1:] = [Unknown(5.0, "0.1", 0, "killed"), Done(99.0, "0.1")]
    assert kinds_of(written) == []


def test_what_may_have_been_accepted_may_be_there(write: Any) -> None:
    written = write("short")
    for kind in (Accepted, Delivered, Done):
        written.drop(kind, 0)
    written.events[-1:] = [Unknown(5.0, "0.1", 0, "killed"), Done(99.0, "0.1")]
    assert kinds_of(written) == []


# -- unexpected ------------------------------------------------------------------------------------


def test_a_job_that_nobody_submitted(write: Any) -> None:
    written = write("short", "short")
    written.drop(Invoked, 1)
    assert kinds_of(written) == [UNEXPECTED]


@pytest.mark.parametrize("job", [None, 7, -1])
def test_a_job_that_is_in_no_plan(write: Any, job: int | None) -> None:
    written = write("short")
    written.events.append(Found(9, job, "succeeded", 1, 0))
    assert kinds_of(written) == [UNEXPECTED]


def test_a_job_that_was_refused_and_is_there(write: Any) -> None:
    written = write("short")
    written.drop(Accepted, 0)
    written.drop(Delivered, 0)
    written.events.append(Refused(1.0, "0.0", 0, "StorageFull"))
    assert kinds_of(written) == [UNEXPECTED]


def test_a_job_that_was_refused_and_submitted_again(write: Any) -> None:
    written = write("short")
    written.events += [Invoked(0.01, "0.0", 0), Refused(0.02, "0.0", 0, "StorageFull")]
    assert kinds_of(written) == []


def test_an_execution_of_a_job_that_is_not_known(write: Any) -> None:
    written = write("short")
    for kind in (Accepted, Delivered, Found, Done):
        written.drop(kind, 0)
    written.events.pop()
    assert kinds_of(written) == [UNEXPECTED]


def test_one_key_that_became_two_jobs(write: Any) -> None:
    written = write("short")
    written.events += [Invoked(2.0, "0.1", 0), Accepted(2.0, "0.1", 0, 77)]
    assert kinds_of(written) == [UNEXPECTED]


def test_a_wrong_value(write: Any) -> None:
    written = write("short")
    written.change(Found, 0, value="beef")
    written.change(Delivered, 0, value="beef")
    assert kinds_of(written) == [UNEXPECTED]


def test_two_outcomes_of_one_job(write: Any) -> None:
    written = write("short")
    written.change(Delivered, 0, ending="timed out", run=None, value=None)
    assert UNEXPECTED in kinds_of(written)


@pytest.mark.parametrize("ending", ["failed", "timed out", "cancelled", "OSError: no"])
def test_an_ending_that_it_must_not_have(write: Any, ending: str) -> None:
    written = write("short")
    written.change(Delivered, 0, ending=ending)
    written.change(Found, 0, ending=ending)
    assert UNEXPECTED in kinds_of(written)


def test_a_cancellation_that_nobody_asked_for(write: Any) -> None:
    written = write("cancelled")
    written.drop(Cancelling, 0)
    assert kinds_of(written) == [UNEXPECTED]


def test_the_outcome_of_another_jobs_execution(write: Any) -> None:
    written = write("short", "short")
    run = next(e.run for e in written.events if isinstance(e, Started) and e.job == 1)
    written.change(Found, 0, run=run)
    written.change(Delivered, 0, run=run)
    assert kinds_of(written) == [UNEXPECTED]


def test_a_job_that_crashed_though_nothing_struck_it(write: Any) -> None:
    written = write("short")
    written.change(Found, 0, ending="crashed", losses=3, attempts=3, run=None, value=None)
    written.change(Delivered, 0, ending="crashed", run=None, value=None)
    assert kinds_of(written) == [UNEXPECTED]


def test_a_job_that_crashed_because_it_was_struck_three_times(write: Any) -> None:
    written = write("short")
    for number in (2, 3):
        at = 10.0 * number
        written.run(0, number, at, ends=False)
        written.events.append(Struck(at + 1, at + 1, "kill-worker", "w1", AGENT))
    written.events.append(Struck(1.25, 1.25, "kill-worker", "w1", AGENT))
    written.change(Found, 0, ending="crashed", losses=3, attempts=3, run=None, value=None)
    written.change(Delivered, 0, ending="crashed", run=None, value=None)
    assert kinds_of(written) == []


# -- delivered twice -------------------------------------------------------------------------------


def test_a_second_delivery_to_one_program(write: Any) -> None:
    written = write("short")
    delivered = next(e for e in written.events if isinstance(e, Delivered))
    written.events.append(delivered._replace(at=50.0))
    assert kinds_of(written) == [TWICE]


def test_a_delivery_to_each_of_two_programs(write: Any) -> None:
    written = write("short")
    delivered = next(e for e in written.events if isinstance(e, Delivered))
    written.events.append(delivered._replace(at=50.0, client="0.1"))
    assert kinds_of(written) == []


# -- stale -----------------------------------------------------------------------------------------


def test_the_result_of_an_attempt_that_was_given_up(write: Any) -> None:
    written = write("short")
    written.events.append(Struck(1.2, 20.0, "silence", "w1", AGENT))
    written.run(0, 2, 9.0)
    written.change(Found, 0, attempts=2, losses=1)
    assert kinds_of(written) == [STALE]


def test_the_result_of_the_attempt_that_came_after_it(write: Any) -> None:
    written = write("short")
    written.events.append(Struck(1.2, 20.0, "silence", "w1", AGENT))
    run = written.run(0, 2, 9.0)
    written.change(Found, 0, attempts=2, losses=1, run=run)
    written.change(Delivered, 0, run=run)
    assert kinds_of(written) == []


# -- bounds ----------------------------------------------------------------------------------------


def test_one_attempt_that_ran_twice(write: Any) -> None:
    written = write("short")
    written.events.append(Struck(1.25, 1.25, "kill-child", "child", 600))
    written.run(0, 1, 1.26, pid=601)
    assert BOUNDS in kinds_of(written)


def test_more_executions_than_attempts(write: Any) -> None:
    written = write("flaky")
    written.change(Found, 0, attempts=2)
    assert BOUNDS in kinds_of(written)


@pytest.mark.parametrize("losses", [0, 2, 4])
def test_a_crash_with_another_number_of_losses(write: Any, losses: int) -> None:
    written = write("crashes")
    written.change(Found, 0, losses=losses)
    assert kinds_of(written) == [BOUNDS]


# -- extra executions ------------------------------------------------------------------------------


def again(write: Any, struck: Struck | None) -> list[str]:
    """A job that ran from 1.2 to 1.3, and a second time at 9.0."""
    written = write("short")
    run = written.run(0, 2, 9.0)
    written.change(Found, 0, attempts=2, losses=1, run=run)
    written.change(Delivered, 0, run=run)
    if struck is not None:
        written.events.append(struck)
    return kinds_of(written)


def test_an_execution_too_many(write: Any) -> None:
    assert again(write, None) == [UNEXPLAINED]


@pytest.mark.parametrize("pid", [AGENT, 600, ALL_WORKERS])
def test_an_execution_that_was_struck(write: Any, pid: int) -> None:
    assert again(write, Struck(1.25, 1.25, "kill", "it", pid)) == []


def test_an_execution_that_had_ended_and_may_not_have_been_recorded(write: Any) -> None:
    assert again(write, Struck(2.0, 2.0, "kill-worker", "w1", AGENT)) == []


def test_an_execution_that_had_been_recorded_long_before(write: Any) -> None:
    assert again(write, Struck(6.0, 6.0, "kill-worker", "w1", AGENT)) == [UNEXPLAINED]


def test_an_execution_that_could_not_be_recorded(write: Any) -> None:
    written = write("short")
    run = written.run(0, 2, 9.0)
    written.change(Found, 0, attempts=2, losses=1, run=run)
    written.change(Delivered, 0, run=run)
    written.events += [
        Struck(1.0, 5.0, "stop-coordinator", COORDINATOR, None),
        Struck(6.0, 6.0, "kill-worker", "w1", AGENT),
    ]
    assert kinds_of(written) == []


def test_an_execution_that_began_after_the_kill(write: Any) -> None:
    assert again(write, Struck(0.1, 0.1, "kill-worker", "w1", AGENT)) == [UNEXPLAINED]


def test_an_execution_in_the_aftermath_of_a_silence(write: Any) -> None:
    assert again(write, Struck(0.1, 1.0, "silence", "w1", AGENT)) == []
    assert again(write, Struck(-50.0, -AFTERMATH, "silence", "w1", AGENT)) == [UNEXPLAINED]


def test_a_fault_of_another_worker_explains_nothing(write: Any) -> None:
    assert again(write, Struck(1.25, 1.25, "kill-worker", "w2", 501)) == [UNEXPLAINED]
    assert again(write, Struck(1.25, 1.25, "kill-client", "client 0", None)) == [UNEXPLAINED]
