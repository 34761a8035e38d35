"""Cancels, deadlines, losses: how jobs end otherwise."""

from __future__ import annotations

from typing import Any

from ampacity.protocol.outcomes import Ending, Evidence, Outcome, pack_outcome


def test_a_queued_job_is_cancelled_at_once(stage: Any) -> None:
    stage.submit()
    stage.ignore()
    stage.cancel(1)
    stage.expect("write: ended 1 cancelled", "answer 2: {1: 'queued'}", "deliver s: 1")
    assert stage.outcome(1).evidence.reason == "cancelled before it began"


def test_a_running_job_is_cancelled_by_its_worker(stage: Any) -> None:
    stage.join()
    stage.submit()
    stage.begin(1)
    stage.ignore()
    stage.cancel(1)
    stage.expect("write: changed 1 running", "answer 2: {1: 'running'}", "end w: 1/1 cancelled")
    stage.cancel(1)
    stage.expect("answer 3: {1: 'running'}")
    stage.finish(1, ending=Ending.CANCELLED)
    stage.expect("write: ended 1 cancelled", "deliver s: 1")


def test_cancelling_what_is_ended_or_unknown_or_of_another_says_so(stage: Any) -> None:
    stage.submit()
    stage.cancel(1)
    stage.ignore()
    stage.cancel(1, 99)
    stage.expect("answer 3: {1: 'cancelled', 99: 'unknown'}")
    stage.submit()
    stage.ignore()
    stage.cancel(2, client="other")
    stage.expect("answer 5: {2: 'unknown'}")


def test_a_job_that_succeeds_in_spite_of_its_cancel_has_succeeded(stage: Any) -> None:
    stage.join()
    stage.submit()
    stage.cancel(1)
    stage.ignore()
    stage.finish(1)
    stage.expect("write: ended 1 succeeded", "deliver s: 1")


def test_queued_only_leaves_what_has_begun_and_asks_for_what_was_sent(stage: Any) -> None:
    stage.join(slots=2)
    stage.submit(3)
    stage.begin(1)
    stage.ignore()
    stage.cancel(1, 2, 3, queued_only=True)
    stage.expect(
        "write: ended 3 cancelled",
        "write: changed 2 sent",
        "answer 2: {1: 'running', 2: 'sent', 3: 'queued'}",
        "retract w: 2/1",
        "deliver s: 3",
    )
    stage.give_back(2)
    stage.expect("write: ended 2 cancelled", "deliver s: 2")


def test_a_deadline_ends_a_queued_job_as_timed_out(stage: Any) -> None:
    stage.submit(deadline=2.0)
    stage.ignore()
    stage.later(1.9)
    stage.expect()
    stage.later(0.2)
    stage.expect("write: ended 1 timed out", "deliver s: 1")
    assert stage.outcome(1).evidence.reason == "its deadline passed before it began"


def test_a_deadline_ends_a_running_job_through_its_worker(stage: Any) -> None:
    stage.join()
    stage.submit(deadline=2.0)
    stage.begin(1)
    stage.ignore()
    stage.later(2.1)
    stage.expect("write: changed 1 running", "end w: 1/1 deadline")
    stage.finish(1, ending=Ending.TIMED_OUT)
    stage.expect("write: ended 1 timed out", "deliver s: 1")


def test_a_job_that_has_ended_has_no_deadline(stage: Any) -> None:
    stage.submit(deadline=2.0)
    stage.cancel(1)
    stage.ignore()
    stage.later(3)
    stage.expect()


def lost(reason: str) -> bytes:
    evidence = Evidence(worker="w", signal="SIGSEGV", peak_memory=5 << 20, reason=reason)
    return pack_outcome(Outcome(evidence=evidence, tail=b"last words"))


def test_a_lost_attempt_is_made_again_and_the_third_loss_ends_the_job(stage: Any) -> None:
    stage.join()
    stage.submit()
    stage.begin(1)
    stage.ignore()
    stage.finish(1, ending=Ending.LOST, body=lost("first"))
    stage.expect("write: changed 1 sent", "write: attempts w 1", "assign w: 1/2")
    stage.finish(1, ending=Ending.LOST, body=lost("second"))
    stage.expect("write: changed 1 sent", "write: attempts w 1", "assign w: 1/3")
    stage.finish(1, ending=Ending.LOST, body=lost("third"))
    stage.expect("write: ended 1 crashed", "deliver s: 1")
    outcome = stage.outcome(1)
    assert outcome.tail == b"last words"
    assert outcome.evidence.signal == "SIGSEGV"
    assert outcome.evidence.reason == (
        "lost 3 times: attempt 1 on w: SIGSEGV, peak memory 5 MiB, first; "
        "attempt 2 on w: SIGSEGV, peak memory 5 MiB, second; "
        "attempt 3 on w: SIGSEGV, peak memory 5 MiB, third"
    )


def test_an_attempt_that_never_began_counts_no_loss(stage: Any) -> None:
    stage.join()
    stage.submit()
    stage.ignore()
    for number in range(2, 7):
        stage.finish(1, ending=Ending.LOST, began=False)
        stage.expect("write: changed 1 sent", "write: attempts w 1", f"assign w: 1/{number}")
    assert stage.scheduler.state.jobs[1].losses == 0


def test_a_lost_job_whose_end_was_asked_for_does_not_run_again(stage: Any) -> None:
    stage.join()
    stage.submit()
    stage.begin(1)
    stage.cancel(1)
    stage.ignore()
    stage.finish(1, ending=Ending.LOST, body=lost("died"))
    stage.expect("write: ended 1 cancelled", "deliver s: 1")


def test_what_is_given_back_counts_nothing_and_goes_first(stage: Any) -> None:
    stage.join()
    stage.submit(3)
    stage.ignore()
    stage.give_back(1)
    stage.expect("write: changed 1 sent", "write: attempts w 1", "assign w: 1/2")
    assert stage.scheduler.state.jobs[1].losses == 0


def test_a_late_report_of_an_old_attempt_is_ignored(stage: Any) -> None:
    stage.join()
    stage.submit()
    stage.begin(1)
    stage.finish(1, ending=Ending.LOST, body=lost("x"))
    stage.ignore()
    stage.finish(1, number=1)
    stage.expect()
    stage.begin(1, number=1)
    stage.expect("end w: 1/1 superseded")
    stage.give_back(1, number=1)
    stage.expect()
    assert stage.state(1) == "sent"


def test_a_report_is_taken_once(stage: Any) -> None:
    stage.join()
    stage.submit()
    stage.finish(1)
    stage.ignore()
    stage.finish(1)
    stage.finish(1, ending=Ending.LOST)
    stage.expect()


def test_many_cancels_are_done_in_slices(stage: Any) -> None:
    stage.submit(1000)
    stage.ignore()
    stage.cancel(*range(1, 1001))
    assert stage.go_on() == 5
    assert stage.only("answer") == [f"answer 2: {dict.fromkeys(range(1, 1001), 'queued')}"]
    assert stage.scheduler.state.queues.sizes[None] == 0
