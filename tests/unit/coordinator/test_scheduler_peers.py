"""Workers and sessions that go away, come back, or do not."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.protocol.errors import NotAllowed
from ampacity.protocol.outcomes import Ending

# -- workers --------------------------------------------------------------------------------------


def working(stage: Any) -> None:
    """Job 1 runs on w, job 2 was sent to it."""
    stage.join(slots=2)
    stage.submit(2)
    stage.begin(1)
    stage.ignore()


def test_names_are_made_unique(stage: Any) -> None:
    stage.join("w", incarnation="one")
    stage.join("w", incarnation="two")
    stage.join("w", incarnation="three")
    assert stage.only("joined") == ["joined w", "joined w-2", "joined w-3"]


def test_a_worker_that_comes_back_in_time_keeps_what_it_holds(stage: Any) -> None:
    working(stage)
    stage.lose()
    stage.expect()
    stage.later(4.9)
    stage.join(slots=2, held=[(1, 1), (2, 1)])
    stage.expect("joined w")
    stage.later(10)
    stage.finish(1, 2)
    stage.expect("write: ended 1 succeeded, 2 succeeded", "deliver s: 1 2")


def test_nothing_is_given_to_a_worker_that_is_away(stage: Any) -> None:
    working(stage)
    stage.lose()
    stage.submit()
    assert stage.only("assign") == []


def test_after_the_lease_begun_jobs_are_lost_and_others_wait_again(stage: Any) -> None:
    working(stage)
    stage.lose()
    stage.later(5.1)
    stage.expect("write: changed 2 queued, 1 queued", "write: worker w forgotten", "gone w")
    jobs = stage.scheduler.state.jobs
    assert (jobs[1].losses, jobs[2].losses) == (1, 0)
    stage.join("v", slots=2)
    stage.expect("write: worker v", "write: attempts v 1 2", "joined v", "assign v: 1/2 2/2")


def test_a_worker_that_comes_back_too_late_is_told_to_drop_all(stage: Any) -> None:
    working(stage)
    stage.lose()
    stage.later(5.1)
    stage.ignore()
    stage.join(slots=2, held=[(1, 1), (2, 1)])
    stage.expect(
        "write: worker w",
        "write: attempts w 1 2",
        "joined w drop 1/1 2/1",
        "assign w: 1/2 2/2",
    )
    stage.finish(1, number=1)
    stage.expect()


def test_a_goodbye_ends_the_lease_at_once(stage: Any) -> None:
    working(stage)
    stage.give_back(2)
    stage.ignore()
    stage.lose(goodbye=True)
    assert stage.only("gone", "write: changed") == ["write: changed 2 queued, 1 queued", "gone w"]
    jobs = stage.scheduler.state.jobs
    assert (jobs[1].losses, jobs[2].losses) == (1, 0)


def test_a_worker_that_joins_again_with_no_slots_is_given_nothing_any_more(stage: Any) -> None:
    working(stage)
    stage.join(slots=0, held=[(1, 1), (2, 1)])
    stage.expect("joined w")
    stage.give_back(2)
    stage.expect("write: changed 2 queued")
    stage.finish(1)
    stage.expect("write: ended 1 succeeded", "deliver s: 1")
    stage.lose(goodbye=True)
    stage.expect("write: worker w forgotten", "gone w")
    stage.join("v")
    stage.expect("write: worker v", "write: attempts v 2", "joined v", "assign v: 2/2")


def test_what_a_returning_worker_does_not_name_may_still_be_reported(stage: Any) -> None:
    working(stage)
    stage.lose()
    stage.join(slots=2, held=[(2, 1)])
    stage.expect("joined w")
    stage.finish(1)
    stage.expect("write: ended 1 succeeded", "deliver s: 1")
    stage.later(2)
    stage.expect()


def test_what_is_not_reported_soon_after_a_return_is_lost(stage: Any) -> None:
    working(stage)
    stage.lose()
    stage.join(slots=2, held=[(1, 1)])
    stage.ignore()
    stage.later(1.1)
    stage.expect(
        "write: changed 2 sent", "write: attempts w 2", "assign w: 2/2", "end w: 2/1 superseded"
    )


def test_a_cancel_during_the_absence_is_told_at_the_return(stage: Any) -> None:
    working(stage)
    stage.lose()
    stage.cancel(1)
    stage.expect("write: changed 1 running", "answer 2: {1: 'running'}")
    stage.join(slots=2, held=[(1, 1), (2, 1)])
    stage.expect("joined w", "end w: 1/1 cancelled")


def test_a_cancelled_job_of_a_lost_worker_is_cancelled(stage: Any) -> None:
    working(stage)
    stage.lose()
    stage.cancel(1, 2)
    stage.ignore()
    stage.later(5.1)
    stage.expect(
        "write: ended 2 cancelled, 1 cancelled",
        "write: worker w forgotten",
        "gone w",
        "deliver s: 2 1",
    )


def test_events_of_a_worker_that_is_gone_are_ignored(stage: Any) -> None:
    working(stage)
    stage.lose(goodbye=True)
    stage.ignore()
    stage.begin(1)
    stage.finish(1)
    stage.give_back(2)
    stage.lose()
    stage.expect()


def test_a_worker_with_many_attempts_is_lost_in_slices(stage: Any) -> None:
    stage.submit(1000)
    stage.join(slots=1000)
    stage.go_on()
    stage.ignore()
    stage.lose(goodbye=True)
    assert stage.go_on() == 4
    stage.ignore()
    assert stage.scheduler.state.counts[:3] == [1000, 0, 0]
    stage.join("v", slots=1)
    assert stage.only("assign") == ["assign v: 1/2"]


def test_three_lost_workers_end_a_job_as_crashed_with_the_evidence(stage: Any) -> None:
    stage.submit()
    for name in "abc":
        stage.join(name)
        stage.begin(1, name=name)
        stage.lose(name, goodbye=True)
    assert stage.only("write: ended", "deliver") == ["write: ended 1 crashed", "deliver s: 1"]
    reason = stage.outcome(1).evidence.reason
    assert reason.startswith("lost 3 times: attempt 1 on a: the worker left while the job ran; ")


# -- sessions -------------------------------------------------------------------------------------


def test_unacknowledged_outcomes_are_delivered_again(stage: Any) -> None:
    stage.join(slots=2)
    stage.submit(2)
    stage.finish(1, 2)
    stage.acknowledge(1)
    stage.leave()
    stage.ignore()
    stage.open()
    stage.expect("opened s", "deliver s: 2")


def test_outcomes_of_an_absent_session_are_kept_for_it(stage: Any) -> None:
    stage.join()
    stage.submit()
    stage.leave()
    stage.ignore()
    stage.finish(1)
    stage.expect("write: ended 1 succeeded")
    stage.later(60)
    stage.open()
    stage.expect("opened s", "deliver s: 1")
    stage.acknowledge(1)
    stage.leave()
    stage.open()
    stage.expect("write: taken 1", "opened s")


def test_jobs_outlive_their_client_unless_they_are_to_end_with_it(stage: Any) -> None:
    stage.join(slots=1)
    stage.submit(2, orphans="cancel")
    stage.submit(1)
    stage.ignore()
    stage.leave()
    stage.later(9.9)
    stage.expect()
    stage.later(0.2)
    stage.expect("write: ended 2 cancelled", "write: changed 1 sent", "end w: 1/1 cancelled")
    assert stage.state(3) == "queued"


def test_a_session_that_comes_back_in_time_keeps_its_jobs(stage: Any) -> None:
    stage.submit(1, orphans="cancel")
    stage.leave()
    stage.later(9)
    stage.open()
    stage.ignore()
    stage.later(30)
    stage.expect()


def test_with_a_goodbye_they_end_at_once(stage: Any) -> None:
    stage.submit(1, orphans="cancel")
    stage.ignore()
    stage.leave(goodbye=True)
    stage.expect("write: session s forgotten", "write: ended 1 cancelled")


def test_a_session_is_forgotten_in_the_end(stages: Any) -> None:
    stage = stages(session_keep=100.0)
    stage.open()
    stage.submit()
    stage.leave()
    stage.ignore()
    stage.later(101)
    stage.expect("write: session s forgotten")


def test_a_session_belongs_to_its_client(stage: Any) -> None:
    with pytest.raises(NotAllowed):
        stage.open(client="other")


def test_the_outcome_of_a_job_that_another_session_submitted_can_be_watched(stage: Any) -> None:
    stage.join()
    stage.open("t")
    stage.submit()
    stage.ignore()
    stage.watch(1, 99, session="t")
    stage.expect("answer 2: [99]")
    stage.finish(1)
    stage.expect("write: ended 1 succeeded", "deliver s: 1", "deliver t: 1")


def test_an_ended_job_is_delivered_at_once_to_who_watches(stage: Any) -> None:
    stage.submit()
    stage.cancel(1)
    stage.acknowledge(1)
    stage.open("t")
    stage.ignore()
    stage.watch(1, session="t")
    stage.expect("answer 3: []", "deliver t: 1")


def test_jobs_of_another_client_cannot_be_watched(stage: Any) -> None:
    stage.open("t", client="other")
    stage.submit()
    stage.ignore()
    stage.watch(1, session="t")
    stage.expect("answer 2: [1]")


# -- forgetting -----------------------------------------------------------------------------------


def test_ended_jobs_are_forgotten_by_count_the_oldest_first(stages: Any) -> None:
    stage = stages(retain_jobs=2)
    stage.open()
    stage.submit(4)
    stage.cancel(1, 2, 3, 4)
    stage.ignore()
    stage.acknowledge(2, 1, 3, 4)
    stage.expect("write: taken 2 1 3 4", "write: forgotten 2 1")


def test_they_are_forgotten_by_bytes(stages: Any) -> None:
    stage = stages(retain_bytes=250)
    stage.open()
    stage.join(slots=3)
    stage.submit(3)
    stage.finish(1, 2, 3, body=bytes(100))
    stage.ignore()
    stage.acknowledge(1, 2, 3)
    stage.expect("write: taken 1 2 3", "write: forgotten 1")


def test_they_are_forgotten_by_age(stages: Any) -> None:
    stage = stages(retain_age=3600.0)
    stage.open()
    stage.submit()
    stage.cancel(1)
    stage.acknowledge(1)
    stage.ignore()
    stage.later(3700)
    stage.expect("write: forgotten 1")


def test_an_outcome_that_a_session_is_owed_is_not_forgotten(stages: Any) -> None:
    stage = stages(retain_jobs=1)
    stage.open()
    stage.submit(3)
    stage.cancel(1, 2, 3)
    assert stage.only("write: forgotten") == []
    stage.acknowledge(1)
    stage.expect("write: taken 1", "write: forgotten 1")
    stage.acknowledge(2, 3)
    stage.expect("write: taken 2 3", "write: forgotten 2")


def test_a_group_goes_with_its_last_job(stages: Any) -> None:
    stage = stages(retain_jobs=1)
    stage.open()
    stage.submit(2, group=1)
    stage.submit()
    stage.close_group(1, 2)
    stage.cancel(1, 2, 3)
    stage.ignore()
    stage.acknowledge(1)
    stage.acknowledge(2)
    assert stage.only("write: group") == ["write: group 1 forgotten"]


def test_nothing_is_left_of_a_client_that_is_gone(stages: Any) -> None:
    stage = stages()
    stage.open()
    stage.join()
    stage.submit(1, group=1, keys=["k"], deadline=100.0, orphans="cancel")
    stage.finish(1, ending=Ending.FAILED)
    stage.acknowledge(1)
    stage.forget(1)
    stage.leave(goodbye=True)
    stage.ignore()
    state = stage.scheduler.state
    assert not (state.jobs or state.groups or state.sessions or state.clients or state.specs)


def test_what_was_forgotten_during_a_long_absence_is_not_delivered(stages: Any) -> None:
    stage = stages(retain_untaken=50.0)
    stage.open()
    stage.submit(1)
    stage.cancel(1)
    stage.leave()
    stage.later(130)
    assert stage.only("write: forgotten") == ["write: forgotten 1"]
    stage.open()
    stage.expect("opened s")
