"""The way of a job through the scheduler: submitted, given out, ended, delivered."""

from __future__ import annotations

from typing import Any

from ampacity.protocol.ids import GroupId
from ampacity.protocol.outcomes import Ending
from ampacity.protocol.ports import Accepted


def answer(
    ask: int, *ids: tuple[int, int], group: GroupId | None = None, warning: Any = None
) -> str:
    return f"answer {ask}: {Accepted(ids=ids, group=group, warning=warning)}"


NOBODY = "no worker is connected"


def test_a_job_without_workers_waits_and_says_so(stage: Any) -> None:
    stage.submit()
    stage.expect("write: added 1", "write: session s next 2", answer(1, (1, 1), warning=NOBODY))
    assert stage.state(1) == "queued"


def test_a_job_goes_to_a_free_slot_and_its_outcome_to_its_session(stage: Any) -> None:
    stage.join()
    stage.expect("write: worker w", "joined w")
    stage.submit()
    stage.expect(
        "write: added 1",
        "write: session s next 2",
        "write: attempts w 1",
        answer(1, (1, 1)),
        "assign w: 1/1",
    )
    stage.begin(1)
    stage.expect("write: changed 1 running")
    assert stage.state(1) == "running"
    stage.finish(1)
    stage.expect("write: ended 1 succeeded", "deliver s: 1")
    stage.acknowledge(1)
    stage.expect("write: taken 1")
    assert stage.state(1) == "succeeded"


def test_a_worker_that_joins_gets_what_waits(stage: Any) -> None:
    stage.submit(3)
    stage.ignore()
    stage.join(slots=2)
    stage.expect("write: worker w", "write: attempts w 1 2", "joined w", "assign w: 1/1 2/1")


def test_jobs_are_shared_evenly(stage: Any) -> None:
    for name in "abc":
        stage.join(name, slots=4)
    stage.ignore()
    stage.submit(6)
    assert stage.only("assign") == ["assign a: 1/1 2/1", "assign b: 3/1 4/1", "assign c: 5/1 6/1"]


def test_the_end_may_be_reported_before_the_start(stage: Any) -> None:
    stage.join()
    stage.submit()
    stage.ignore()
    stage.finish(1, ending=Ending.FAILED)
    stage.expect("write: ended 1 failed", "deliver s: 1")


def test_a_function_that_never_ended_is_not_given_beyond_the_slots(stage: Any) -> None:
    stage.join(slots=2)
    stage.submit(5)
    assert stage.only("assign") == ["assign w: 1/1 2/1"]


def test_short_jobs_are_given_ahead_up_to_the_credit(stage: Any) -> None:
    stage.join(slots=1)
    stage.submit(1)
    stage.finish(1, seconds=0.005)
    stage.ignore()
    stage.submit(10)
    # one for the slot, and 20 ms of work in all: the last one may reach beyond it
    assert stage.only("assign") == ["assign w: 2/1", "assign w: 3/1 4/1 5/1"]


def test_at_most_800_jobs_a_slot_are_given_ahead(stage: Any) -> None:
    stage.join(slots=1)
    stage.submit(1)
    stage.finish(1, seconds=0.0)
    stage.ignore()
    stage.submit(1200)
    stage.go_on()
    assert len(stage.scheduler.state.workers["w"].held) == 800  # 20 ms at the floor of 25 µs
    stage.ignore()


def test_a_long_running_job_uses_up_the_credit(stage: Any) -> None:
    stage.join(slots=1)
    stage.submit(1)
    stage.finish(1, seconds=0.001)
    stage.submit(1)
    stage.begin(2)
    stage.later(0.05)
    stage.ignore()
    stage.submit(5)
    assert stage.only("assign") == []


def test_clients_have_fair_turns(stage: Any) -> None:
    stage.open("t", client="other")
    stage.submit(50)
    stage.submit(2, session="t")
    stage.ignore()
    stage.join(slots=4)
    assert stage.only("assign") == ["assign w: 1/1 51/1 2/1 52/1"]


def test_a_job_by_value_goes_to_its_python_only(stage: Any) -> None:
    stage.join("old", python="3.11")
    stage.ignore()
    stage.submit(python="3.12", kind="value")
    reason = "needs Python 3.12, the connected workers have 3.11"
    stage.expect("write: added 1", "write: session s next 2", answer(1, (1, 1), warning=reason))
    stage.submit()
    assert stage.only("assign") == ["assign old: 2/1"]
    stage.join("new", python="3.12")
    stage.expect("write: worker new", "write: attempts new 1", "joined new", "assign new: 1/1")


def test_jobs_are_taken_back_when_slots_are_free_elsewhere(stage: Any) -> None:
    stage.join("a", slots=1)
    stage.submit(1)
    stage.finish(1, name="a", seconds=0.005)
    stage.submit(4)
    stage.begin(2, name="a")
    stage.ignore()
    stage.join("b", slots=1)
    stage.expect("write: worker b", "joined b", "retract a: 5/1 4/1")
    stage.give_back(5, 4, name="a")
    stage.expect(
        "write: changed 5 sent, 4 sent",
        "write: attempts b 4",
        "write: attempts b 5",
        "assign b: 4/2",
        "assign b: 5/2",
    )


def test_a_job_that_began_meanwhile_stays(stage: Any) -> None:
    stage.join("a", slots=1)
    stage.submit(1)
    stage.finish(1, name="a", seconds=0.01)
    stage.submit(2)
    stage.join("b", slots=1)
    assert stage.only("retract") == ["retract a: 3/1"]
    stage.begin(3, name="a")
    stage.finish(3, name="a")
    stage.expect("write: changed 3 running", "write: ended 3 succeeded", "deliver s: 3")


def test_many_jobs_are_given_out_in_slices(stages: Any) -> None:
    stage = stages()
    stage.open()
    stage.submit(5000)
    for number in range(5):
        stage.join(f"w{number}", slots=1000)
        stage.go_on()
    stage.ignore()
    assert stage.scheduler.state.counts[:3] == [0, 5000, 0]


def test_a_retracted_job_is_asked_for_once(stage: Any) -> None:
    stage.join("a", slots=1)
    stage.submit(1)
    stage.finish(1, name="a", seconds=0.01)
    stage.submit(2)
    stage.join("b", slots=1)
    stage.ignore()
    stage.later(1)
    stage.expect()
