"""What is accepted, once, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.coordinator import events
from ampacity.coordinator.transitions import STATE_NAMES
from ampacity.protocol.ids import GroupId, SessionId
from ampacity.protocol.jobs import BlobRef, Submission
from ampacity.protocol.ports import Accepted

NOBODY = "no worker is connected"


def answer(ask: int, *ids: tuple[int, int], group: GroupId | None = None) -> str:
    warning = NOBODY if ids else None
    return f"answer {ask}: {Accepted(ids=ids, group=group, warning=warning)}"


def test_a_frame_that_is_sent_again_gets_the_same_answer(stage: Any) -> None:
    stage.submit(2)
    stage.ignore()
    stage.submit(2, sequence=1)
    stage.expect(answer(2, (1, 2)))


def test_frames_may_overtake_one_that_was_missing_something(stage: Any) -> None:
    stage.submit(1, sequence=2)
    stage.expect("write: added 1", "write: session s next 1", answer(1, (1, 1)))
    stage.submit(1, sequence=1)
    stage.expect("write: added 2", "write: session s next 3", answer(2, (2, 1)))
    stage.submit(1, sequence=2)
    stage.expect(answer(3, (1, 1)))


def test_a_frame_of_long_ago_is_refused(stage: Any) -> None:
    for _ in range(130):
        stage.submit(1)
    stage.ignore()
    stage.submit(1, sequence=1)
    stage.expect("refuse 131: NotAllowed")


def test_a_frame_for_a_session_that_is_not_open_is_refused(stage: Any) -> None:
    stage.submit(1, session="other")
    stage.expect("refuse 1: Disconnected")


def test_a_damaged_spec_refuses_the_whole_frame(stage: Any) -> None:
    frame = [Submission(b"\xc0", b"")]
    stage.handle(events.Submitted(stage.at, 1, SessionId(b"s"), 1, None, frame))
    stage.expect("refuse 1: Malformed")


def test_a_full_queue_refuses_and_the_number_can_be_used_again(stages: Any) -> None:
    stage = stages(queue_jobs=3)
    stage.open()
    stage.submit(2)
    stage.ignore()
    stage.submit(2)
    stage.expect("refuse 2: QueueFull")
    stage.cancel(1)
    stage.ignore()
    stage.submit(2, sequence=2)
    stage.expect("write: added 3 4", "write: session s next 3", answer(4, (3, 2)))


def test_a_queue_that_is_full_of_bytes_refuses(stages: Any) -> None:
    stage = stages(queue_bytes=10)
    stage.open()
    stage.submit(1, payload=bytes(11))
    stage.ignore()
    stage.submit(1)
    stage.expect("refuse 2: QueueFull")


def test_a_key_names_the_job_that_is_known(stage: Any) -> None:
    stage.submit(3, keys=["a", None, "a"])
    stage.expect("write: added 1 2", "write: session s next 2", answer(1, (1, 2), (1, 1)))
    stage.submit(1, keys=["a"], target="m:other")
    stage.expect("write: session s next 3", f"answer 2: {Accepted(ids=((1, 1),))}")


def test_the_outcome_of_a_known_key_is_delivered_to_who_asked_again(stage: Any) -> None:
    stage.join()
    stage.submit(1, keys=["a"])
    stage.finish(1)
    stage.acknowledge(1)
    stage.open("t")
    stage.ignore()
    stage.submit(1, session="t", keys=["a"])
    stage.expect("write: session t next 2", f"answer 2: {Accepted(ids=((1, 1),))}", "deliver t: 1")


def test_keys_are_scoped_to_their_client(stage: Any) -> None:
    stage.open("t", client="other")
    stage.submit(1, keys=["a"])
    stage.ignore()
    stage.submit(1, session="t", keys=["a"])
    stage.expect("write: added 2", "write: session t next 2", answer(2, (2, 1)))


def test_a_key_lives_as_long_as_its_job(stages: Any) -> None:
    stage = stages()
    stage.open()
    stage.submit(1, keys=["a"])
    stage.cancel(1)
    stage.forget(1)
    stage.ignore()
    stage.submit(1, keys=["a"])
    stage.expect("write: added 2", "write: session s next 3", answer(4, (2, 1)))


def test_a_group_has_an_id_of_its_own_and_is_closed(stage: Any) -> None:
    stage.submit(2, group=1, name="frames")
    stage.expect(
        "write: group 1 size None",
        "write: added 1 2",
        "write: session s next 2",
        answer(1, (1, 2), group=GroupId(1)),
    )
    stage.submit(1, group=1)
    stage.close_group(1, 3)
    assert stage.only("write: group", "answer 3") == ["write: group 1 size 3", "answer 3: None"]
    group = stage.scheduler.state.groups[1]
    assert (group.name, group.jobs, group.runs) == ("frames", 3, [[1, 3]])


def test_a_group_of_nothing_can_be_closed_an_unknown_one_not(stage: Any) -> None:
    stage.close_group(1, 0)
    stage.expect("answer 1: None")
    stage.close_group(1, 5)
    stage.expect("refuse 2: NoSuchGroup")


def test_blobs_are_held_until_the_last_job_that_refers_to_them_is_forgotten(stages: Any) -> None:
    stage = stages()
    stage.open()
    function = BlobRef(b"function".ljust(32, b"\0"), 9)
    payload = BlobRef(b"payload".ljust(32, b"\0"), 9)
    stage.submit(2, kind="value", function=function, payload=payload)
    assert stage.only("hold") == ["hold payload payload function function"]
    stage.cancel(1, 2)
    stage.ignore()
    stage.forget(1)
    stage.expect("write: forgotten 1", "release function payload", "answer 3: {1: 'forgotten'}")
    stage.forget(2)
    stage.expect("write: forgotten 2", "release function payload", "answer 4: {2: 'forgotten'}")


def test_retry_makes_a_new_job_of_an_ended_one(stage: Any) -> None:
    stage.submit(2, payload=b"same")
    stage.cancel(1)
    stage.ignore()
    stage.retry(1, 2, 99)
    stage.expect("write: added 3", "write: changed 1 cancelled", "answer 3: {1: 3}")
    assert stage.scheduler.state.jobs[3].payload == b"same"
    stage.retry(1, client="other")
    stage.expect("answer 4: {}")


def test_a_job_is_run_again_once(stage: Any) -> None:
    stage.submit()
    stage.cancel(1)
    stage.retry(1, 1)
    stage.ignore()
    stage.retry(1)
    stage.expect("answer 4: {}")
    stage.cancel(2)
    stage.ignore()
    stage.retry(2)
    stage.expect("write: added 3", "write: changed 2 cancelled", "answer 6: {2: 3}")


def test_a_retry_has_the_place_of_the_old_job(stage: Any) -> None:
    stage.submit(3, group=1)
    stage.close_group(1, 3)
    stage.submit(1)
    stage.cancel(1, 2, 4)
    stage.retry(4, 2)
    state = stage.scheduler.state
    (group,) = state.groups.values()
    lone, again = state.jobs[5], state.jobs[6]
    assert (lone.group, lone.place) == (None, None)
    assert (again.group, again.place) == (group, 1)
    assert group.size == 3
    counts = {name: n for name, n in zip(STATE_NAMES, group.counts, strict=True) if n}
    assert counts == {"queued": 2, "cancelled": 1}
    assert (state.jobs[2].retried, again.retry_of) == (6, 2)
    assert ("retried", "as 6") in [(what, detail) for _, what, detail in state.jobs[2].story]
    stage.ignore()


@pytest.mark.parametrize("order", [(2, 4), (4, 2)])
def test_jobs_that_were_run_again_can_be_forgotten(stages: Any, order: Any) -> None:
    stage = stages()
    stage.open()
    stage.submit(2, group=1)
    stage.close_group(1, 2)
    stage.cancel(1, 2)
    stage.retry(1, 2)
    stage.cancel(3, 4)
    state = stage.scheduler.state
    (group,) = state.groups.values()
    for number in order:
        stage.forget(number)
    assert (group.jobs, sum(group.counts)) == (2, 1)
    stage.forget(1, 3)
    assert not state.groups and not state.jobs
    stage.ignore()
