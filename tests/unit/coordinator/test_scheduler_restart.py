"""A new coordinator over the disk of an earlier one."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.coordinator import deliveries, queues
from ampacity.protocol.jobs import BlobRef
from ampacity.protocol.outcomes import Ending
from ampacity.protocol.ports import Accepted

# -- workers --------------------------------------------------------------------------------------


def working(stage: Any, **worker: Any) -> None:
    """Job 1 runs on w, job 2 was sent to it, job 3 waits."""
    stage.join(slots=2, **worker)
    stage.submit(3)
    stage.begin(1)
    stage.ignore()


def test_a_worker_that_comes_back_keeps_what_it_holds_and_is_believed(durable: Any) -> None:
    stage = durable
    working(stage)
    stage.restart()
    stage.expect()
    stage.later(29)
    stage.join(slots=2, held=[(1, 1), (2, 1)])
    stage.expect("joined w")
    stage.begin(2)
    stage.finish(1, 2)
    assert stage.only("write: ended", "assign") == [
        "write: ended 1 succeeded, 2 succeeded",
        "assign w: 3/1",
    ]


def test_what_it_finished_meanwhile_is_reported(durable: Any) -> None:
    stage = durable
    working(stage)
    stage.restart(60.0)
    stage.join(slots=2, held=[(2, 1)])
    stage.finish(1)
    stage.later(2)
    assert stage.state(1) == "succeeded"
    assert stage.job(2).losses == 0
    stage.ignore()


def test_a_worker_that_does_not_come_back_is_lost_after_the_recovery(durable: Any) -> None:
    stage = durable
    working(stage)
    stage.restart()
    stage.later(30.1)
    stage.expect("write: changed 2 queued, 1 queued", "write: worker w forgotten", "gone w")
    assert (stage.job(1).losses, stage.job(2).losses) == (1, 0)


def test_a_worker_of_the_dead_process_is_lost_at_once(durable: Any) -> None:
    stage = durable
    working(stage, local=True)
    stage.restart()
    stage.expect("write: changed 2 queued, 1 queued", "write: worker w forgotten", "gone w")
    stage.join("v", slots=3)
    assert stage.only("assign") == ["assign v: 1/2 2/2 3/1"]


def test_an_asked_for_cancel_outlives_the_coordinator(durable: Any) -> None:
    stage = durable
    working(stage)
    stage.cancel(1)
    stage.ignore()
    stage.restart()
    stage.join(slots=2, held=[(1, 1), (2, 1)])
    stage.expect("joined w", "end w: 1/1 cancelled")


def test_a_job_whose_record_is_damaged_is_not_run_but_ended(durable: Any) -> None:
    """Its owner is told; what of it was on a worker is superseded."""
    stage = durable
    working(stage)
    rows = stage.store._disk.rows.jobs
    rows[1] = rows[1]._replace(damage="job 1 is damaged", spec=b"", payload=b"")
    stage.restart()
    assert stage.only("write: ended") == ["write: ended 1 crashed"]
    assert stage.state(1) == "crashed"
    stage.join(slots=2, held=[(1, 1), (2, 1)])
    assert stage.state(2) in ("sent", "running")
    stage.ignore()


# -- time -----------------------------------------------------------------------------------------


def test_a_delayed_job_is_resumed_when_it_would_have_been(durable: Any) -> None:
    stage = durable
    stage.join()
    stage.submit(retries=1, backoff=100.0)
    stage.finish(1, ending=Ending.FAILED)
    resume = stage.job(1).resume
    stage.ignore()
    stage.restart(50.0)
    assert stage.state(1) == "delayed"
    stage.later(resume - stage.wall - 0.1)
    assert stage.state(1) == "delayed"
    stage.later(0.2)
    assert stage.state(1) == "queued"
    stage.ignore()


@pytest.mark.parametrize("state", ["queued", "sent", "delayed"])
def test_deadlines_go_on_by_the_wall_clock(durable: Any, state: str) -> None:
    stage = durable
    if state != "queued":
        stage.join()
    stage.submit(deadline=100.0, retries=5, backoff=60.0)
    if state == "delayed":
        stage.finish(1, ending=Ending.FAILED)
    assert stage.state(1) == state
    stage.restart(20.0)
    stage.join(held=[(1, 1)])
    stage.lose(goodbye=state != "sent")
    if state == "sent":
        stage.join(held=[(1, 1)])
    stage.ignore()
    stage.later(79.0)
    assert stage.job(1).ended is None and stage.job(1).why is None
    stage.later(1.5)
    assert stage.job(1).ended is not None or stage.job(1).why == "deadline"
    stage.ignore()


# -- clients --------------------------------------------------------------------------------------


def test_a_frame_that_is_sent_again_gets_its_old_answer(durable: Any) -> None:
    stage = durable
    stage.submit(2, sequence=1)
    stage.submit(1, sequence=3)
    stage.ignore()
    stage.restart()
    stage.open()
    stage.ignore()
    stage.submit(2, sequence=1)
    stage.submit(1, sequence=3)
    warning = "no worker is connected"
    stage.expect(
        f"answer 3: {Accepted(ids=((1, 2),), warning=warning)}",
        f"answer 4: {Accepted(ids=((3, 1),), warning=warning)}",
    )
    stage.submit(1, sequence=2)
    assert stage.only("write: added") == ["write: added 4"]


def test_what_a_session_has_not_got_is_delivered_to_it(durable: Any) -> None:
    stage = durable
    stage.submit(3)
    stage.cancel(1, 2, 3)
    stage.acknowledge(2)
    stage.restart()
    stage.ignore()
    stage.open()
    stage.expect("opened s", "deliver s: 1 3")


def test_a_key_names_its_job_still(durable: Any) -> None:
    stage = durable
    stage.submit(1, keys=["a"])
    stage.restart()
    stage.open()
    stage.ignore()
    stage.submit(2, keys=["a", "b"])
    assert stage.only("write: added", "answer") == [
        "write: added 2",
        f"answer 2: {Accepted(ids=((1, 2),), warning='no worker is connected')}",
    ]


def test_groups_counts_and_bounds_are_as_before(durable: Any) -> None:
    stage = durable
    stage.submit(3, group=1, payload=b"12345", name="frames")
    stage.cancel(1)
    stage.retry(1)
    before = stage.scheduler.state
    stage.restart()
    stage.ignore()
    after = stage.scheduler.state
    assert after.counts == before.counts
    assert (after.pending_bytes, after.next_job) == (before.pending_bytes, before.next_job)
    old, new = before.groups[1], after.groups[1]
    assert (new.name, new.size, new.jobs, new.counts) == (old.name, None, 4, old.counts)
    assert (new.first, new.last) == (1, 4)
    stage.open()
    stage.submit(1, group=1)
    assert stage.only("write: group") == []
    assert new.jobs == 5


def test_references_to_blobs_are_kept(durable: Any) -> None:
    stage = durable
    payload = BlobRef(b"payload".ljust(32, b"\0"), 9)
    stage.submit(2, payload=payload)
    stage.cancel(1)
    stage.ignore()
    stage.restart()
    assert stage.store.remembered.blobs == {payload.digest: 2}
    stage.forget(1)
    assert stage.only("release") == ["release payload"]
    assert stage.disk.rows.blobs == {payload.digest: 1}


# -- many jobs ------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queues and outboxes of a few jobs."""
    monkeypatch.setattr(queues, "HOT", 4)
    monkeypatch.setattr(queues, "WARM", 4)
    monkeypatch.setattr(queues, "SHORT", 2)
    monkeypatch.setattr(queues, "PAGE", 3)
    monkeypatch.setattr(deliveries, "OUTBOX", 6)
    monkeypatch.setattr(deliveries, "PAGE", 3)


@pytest.mark.usefixtures("small")
def test_a_long_queue_keeps_its_order_and_few_jobs_in_memory(durable: Any) -> None:
    stage = durable
    for _ in range(20):
        stage.submit(2)
    stage.cancel(17, 18)
    assert len(stage.scheduler.state.jobs) <= 8
    stage.restart()
    stage.join()
    for _ in range(38):
        (job,) = (number for number, job in stage.scheduler.state.jobs.items() if job.worker)
        stage.finish(job, seconds=5.0)  # so that nothing is given ahead
    ends = [job for job in stage.disk.rows.jobs.values() if job.state == 4]
    assert [job.id for job in ends] == [n for n in range(1, 41) if n not in (17, 18)]
    assert stage.only("assign")[:3] == ["assign w: 1/1", "assign w: 2/1", "assign w: 3/1"]


@pytest.mark.usefixtures("small")
def test_a_session_that_is_slow_has_a_bounded_number_on_their_way(either: Any) -> None:
    stage = either()
    stage.submit(30)
    stage.cancel(*range(1, 31))
    stage.go_on()
    record = stage.scheduler.state.sessions[b"s"]
    got: list[int] = []
    while record.outbox:
        assert len(record.outbox) <= 6 + 3
        first = next(iter(record.outbox))
        got.append(first)
        stage.acknowledge(first)
    assert sorted(got) == list(range(1, 31))
    assert not record.behind
    stage.ignore()
