"""Attempts that failed are made again: how often, after how long, and what is told of them."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.protocol.outcomes import Ending, ErrorText, Outcome, pack_outcome

BODY = pack_outcome(Outcome(error=ErrorText("ValueError", "bad", "")))


def failing(stage: Any, **spec: Any) -> None:
    """A job is sent to w."""
    stage.join()
    stage.submit(**spec)
    stage.ignore()


def delay(stage: Any, job: int = 1) -> float:
    """Seconds until its next attempt."""
    known = stage.job(job)
    assert known.resume is not None
    return float(known.resume - stage.wall)


def test_a_failed_attempt_is_made_again_after_a_while(either: Any) -> None:
    stage = either()
    failing(stage, retries=1)
    stage.finish(1, ending=Ending.FAILED, body=BODY)
    stage.expect("write: changed 1 delayed")
    stage.later(1.4)
    stage.expect("write: changed 1 sent", "write: attempts w 1", "assign w: 1/2")
    stage.finish(1, ending=Ending.FAILED, body=BODY)
    stage.expect("write: ended 1 failed", "deliver s: 1")
    told = ("failed", "attempt 1 on w: ValueError: bad")
    assert stage.story(1) == [("sent", "w"), told, ("sent", "w")]


@pytest.mark.parametrize("job", range(1, 6))
def test_the_wait_doubles_within_a_quarter_up_to_a_bound(either: Any, job: int) -> None:
    stage = either(max_backoff=10.0)
    stage.submit(5, retries=8, backoff=1.0)
    stage.cancel(*(number for number in range(1, 6) if number != job))
    stage.join()
    for doubled in (1, 2, 4, 8, 10, 10, 10, 10):
        stage.finish(job, ending=Ending.FAILED)
        assert 0.75 * doubled <= delay(stage, job) <= 1.25 * doubled
        stage.later(13)
    stage.ignore()


def test_a_first_wait_above_the_bound_is_every_wait(either: Any) -> None:
    stage = either(max_backoff=10.0)
    stage.submit(retries=3, backoff=600.0)
    stage.join()
    for _ in range(3):
        stage.finish(1, ending=Ending.FAILED)
        assert 450 <= delay(stage, 1) <= 750
        stage.later(751)
    stage.ignore()


def test_jobs_that_failed_together_come_back_apart_and_always_so(either: Any) -> None:
    waits = []
    for _ in range(2):
        stage = either()
        stage.join(slots=50)
        stage.submit(50, retries=1)
        stage.finish(*range(1, 51), ending=Ending.FAILED)
        waits.append([round(delay(stage, job), 6) for job in range(1, 51)])
        stage.ignore()
    assert waits[0] == waits[1]
    assert len(set(waits[0])) > 40


def test_an_end_that_is_not_worth_it_is_final(either: Any) -> None:
    stage = either()
    failing(stage, retries=5)
    stage.finish(1, ending=Ending.FAILED, again=False)
    stage.expect("write: ended 1 failed", "deliver s: 1")


def test_a_time_out_of_an_attempt_is_retried_and_success_ends_it(either: Any) -> None:
    stage = either()
    failing(stage, retries=3)
    stage.finish(1, ending=Ending.TIMED_OUT)
    assert stage.state(1) == "delayed"
    stage.later(2)
    stage.finish(1)
    assert stage.state(1) == "succeeded"
    assert stage.story(1)[1] == ("timed out", "attempt 1 on w")
    stage.ignore()


def test_a_deadline_before_the_next_attempt_ends_the_job_with_the_failure(either: Any) -> None:
    stage = either()
    failing(stage, retries=5, backoff=10.0, deadline=5.0)
    stage.finish(1, ending=Ending.FAILED)
    stage.expect("write: ended 1 failed", "deliver s: 1")


def test_a_delayed_job_can_be_cancelled(either: Any) -> None:
    stage = either()
    failing(stage, retries=5)
    stage.finish(1, ending=Ending.FAILED)
    stage.ignore()
    stage.cancel(1, queued_only=True)
    stage.expect("write: ended 1 cancelled", "answer 2: {1: 'delayed'}", "deliver s: 1")
    stage.later(5)
    stage.expect()


def test_losses_are_counted_apart(either: Any) -> None:
    stage = either()
    failing(stage, retries=1)
    for _ in range(2):
        stage.finish(1, ending=Ending.LOST)
    stage.finish(1, ending=Ending.FAILED)
    assert stage.state(1) == "delayed"
    assert (stage.job(1).losses, stage.job(1).failures) == (2, 1)
    stage.later(2)
    stage.finish(1, ending=Ending.LOST)
    assert stage.state(1) == "crashed"
    stage.ignore()


@pytest.mark.parametrize(("most", "attempts"), [(0, 1), (1, 2), (5, 6)])
def test_as_many_losses_as_its_options_say_are_survived(
    either: Any, most: int, attempts: int
) -> None:
    stage = either()
    failing(stage, max_losses=most)
    for number in range(1, attempts + 1):
        assert (stage.state(1), stage.current(1).number) == ("sent", number)
        stage.finish(1, ending=Ending.LOST)
    assert stage.state(1) == "crashed"
    stage.ignore()


def test_what_a_leaving_worker_gives_back_counts_nothing_though_it_ran(either: Any) -> None:
    stage = either()
    failing(stage, max_losses=0)
    stage.begin(1)
    stage.give_back(1)
    assert (stage.state(1), stage.current(1).number) == ("sent", 2)
    assert (stage.job(1).losses, stage.job(1).failures) == (0, 0)
    assert ("returned", "w") in stage.story(1)
    stage.ignore()
