"""What happens while the store reads, while a worker comes back, while this process stands still.

Each of these was a mistake once.
"""

from __future__ import annotations

from typing import Any

from ampacity.coordinator import events
from ampacity.protocol.ids import ClientId, JobId, SessionId


def ended(stage: Any, count: int) -> None:
    stage.submit(count)
    stage.cancel(*range(1, count + 1))
    stage.ignore()


def test_a_job_that_grows_cold_while_others_are_read_is_still_known(durable: Any) -> None:
    stage = durable
    ended(stage, 2)
    stage.acknowledge(1)
    stage.open("t")
    stage.ignore()
    stage.slow = True
    stage.watch(1, 2, session="t")
    stage.acknowledge(2)
    assert stage.scheduler.state.jobs == {}
    stage.answer()
    stage.answer()
    assert stage.only("answer", "deliver") == ["answer 3: []", "deliver t: 1 2"]


def test_what_was_read_before_a_change_is_read_again(durable: Any) -> None:
    stage = durable
    ended(stage, 2)
    stage.acknowledge(1)
    stage.ignore()
    stage.slow = True
    stage.retry(1, 2)
    stage.retry(2)
    stage.acknowledge(2)
    stage.answer()
    stage.answer()
    added = stage.only("write: added", "answer")
    assert added == ["write: added 3", "answer 4: {2: 3}", "write: added 4", "answer 3: {1: 4}"]


def test_a_job_that_was_forgotten_while_it_was_read_stays_forgotten(durable: Any) -> None:
    stage = durable
    ended(stage, 1)
    stage.leave()
    stage.ignore()
    stage.slow = True
    stage.open()
    stage.open("t")
    stage.watch(1, session="t")
    stage.forget(1)
    while stage.loads:
        stage.answer()
    assert stage.state(1) == "forgotten"
    assert stage.scheduler.state.jobs == {}
    stage.ignore()


def test_requests_are_refused_where_the_store_cannot_be_read(durable: Any) -> None:
    stage = durable
    ended(stage, 1)
    stage.acknowledge(1)
    stage.ignore()
    stage.slow = True
    for ask in (stage.cancel, stage.retry, stage.watch, stage.forget):
        ask(1)
        stage.answer(fails=True)
    stage.expect(*(f"refuse {number}: Refused" for number in range(3, 7)))


def test_a_backlog_that_could_not_be_read_is_read_later(durable: Any) -> None:
    stage = durable
    ended(stage, 1)
    stage.leave()
    stage.slow = True
    stage.open()
    stage.ignore()
    stage.answer(fails=True)
    stage.slow = False
    stage.later(1.1)
    stage.expect("deliver s: 1")


def test_deadlines_and_orphans_that_could_not_be_read_are_ended_later(durable: Any) -> None:
    stage = durable
    stage.submit(1, deadline=5.0)
    stage.submit(1, orphans="cancel")
    stage.restart()
    stage.ignore()
    state = stage.scheduler.state
    assert len(state.jobs) == 2, "the head of the queue"
    stage.slow = True
    stage.later(30.1)
    stage.answer(fails=True)
    stage.slow = False
    stage.later(1.1)
    assert [stage.state(job) for job in (1, 2)] == ["timed out", "cancelled"]
    stage.ignore()


def test_a_delivery_is_for_the_connection_that_it_was_promised_to(durable: Any) -> None:
    stage = durable
    stage.submit()
    at, client, session = stage.at, ClientId("local"), SessionId(b"s")
    done = stage.scheduler.handle(events.CancelAsked(at, 9, client, [JobId(1)], False))
    (before,) = [effect.opening for effect in done if type(effect).__name__ == "Deliver"]
    stage.scheduler.handle(events.SessionOpened(at, client, session))
    assert stage.scheduler.state.sessions[session].openings == before + 1
    stage.ignore()


# -- workers --------------------------------------------------------------------------------------


def test_a_name_is_free_only_when_nothing_is_left_of_its_worker(stage: Any) -> None:
    stage.submit(1000)
    stage.join(slots=1000)
    stage.go_on()
    stage.ignore()
    stage.lose(goodbye=True)
    stage.join("w", incarnation="another")
    assert stage.only("joined", "write: worker") == ["write: worker w-2", "joined w-2"]
    stage.go_on()
    while stage.scheduler.state.tasks:
        stage.handle(events.Continue(stage.at))
    assert stage.only("write: worker") == ["write: worker w forgotten"]


def test_what_begins_after_a_return_is_not_given_up(stage: Any) -> None:
    stage.join()
    stage.submit()
    stage.lose()
    stage.join()
    stage.begin(1)
    stage.ignore()
    stage.later(3)
    stage.expect()
    assert stage.scheduler.state.jobs[1].losses == 0


def test_each_return_has_its_own_time_for_reports(stage: Any) -> None:
    stage.join()
    stage.submit()
    stage.begin(1)
    stage.lose()
    stage.join()
    stage.later(0.9)
    stage.lose()
    stage.join()
    stage.ignore()
    stage.later(0.5)
    stage.expect()
    stage.finish(1)
    stage.expect("write: ended 1 succeeded", "deliver s: 1")


def test_a_pause_of_this_process_is_nobodys_fault(stage: Any) -> None:
    stage.join()
    stage.submit(1, orphans="cancel")
    stage.begin(1)
    stage.lose()
    stage.leave()
    stage.ignore()
    stage.now += 20
    stage.handle(events.Paused(stage.at, 20.0))
    stage.later(4.9)
    assert stage.only("gone", "write: changed") == []
    stage.join(held=[])
    stage.now += 20
    stage.handle(events.Paused(stage.at, 20.0))
    stage.finish(1)
    assert stage.only("write: ended", "end") == ["write: ended 1 succeeded"]


def test_nothing_is_kept_of_jobs_that_were_forgotten(stage: Any) -> None:
    ended(stage, 10)
    stage.forget(*range(1, 11))
    state = stage.scheduler.state
    assert not (state.cooling or state.visiting or state.dropped or state.jobs)
    stage.ignore()
