"""Jobs of others: an operator treats them by their ids, a client gets what it gets for none."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.coordinator.state import SLICE


@pytest.fixture
def stage(either: Any) -> Any:
    """Job 1 of ``local`` and job 2 of ``other`` have ended, 3 and 4 of theirs wait."""
    stage = either()
    stage.open("t", client="other")
    stage.submit()
    stage.submit(session="t")
    stage.cancel(1, 2, client=None)
    stage.acknowledge(2, session="t")
    stage.submit()
    stage.submit(session="t")
    stage.ignore()
    return stage


OTHERS, NONE = 4, 99


def test_a_client_gets_for_anothers_job_what_it_gets_for_none(stage: Any) -> None:
    for ask in (stage.cancel, stage.forget):
        ask(2, OTHERS, NONE)
        (answer,) = stage.only("answer", "write", "deliver", "end")
        assert answer.endswith(": {2: 'unknown', 4: 'unknown', 99: 'unknown'}")
    stage.retry(2, OTHERS, NONE)
    assert stage.only("answer", "write")[0].endswith(": {}")
    stage.watch(2, OTHERS, NONE)
    (answer,) = stage.only("answer", "write", "deliver")
    assert answer.endswith(": [2, 4, 99]")
    assert stage.scheduler.state.sessions[b"s"].foreign == set()


def test_an_operator_cancels_whosever_job_it_is(stage: Any) -> None:
    stage.cancel(2, 3, OTHERS, NONE, client=None)
    (told,) = stage.only("answer")
    assert told.endswith(": {2: 'cancelled', 3: 'queued', 4: 'queued', 99: 'unknown'}")
    stage.cancel(3, OTHERS, client=None)
    assert stage.only("answer")[0].endswith(": {3: 'cancelled', 4: 'cancelled'}")


def test_an_operator_forgets_whosever_job_it_is(stage: Any) -> None:
    stage.forget(1, 2, OTHERS, NONE, client=None)
    (told,) = stage.only("answer")
    assert told.endswith(": {1: 'forgotten', 2: 'forgotten', 4: 'queued', 99: 'unknown'}")


def test_a_job_that_an_operator_runs_again_belongs_to_its_client(stage: Any) -> None:
    stage.retry(1, 2, client=None)
    stage.ignore()
    jobs = stage.scheduler.state.jobs
    assert [(n, jobs[n].client.id, jobs[n].retry_of) for n in (5, 6)] == [
        (5, "local", 1),
        (6, "other", 2),
    ]
    stage.cancel(6, client="other")
    assert stage.only("answer")[0].endswith(": {6: 'queued'}")


def test_what_an_operator_hears_of_others_jobs_is_marked_and_is_not_taken(stage: Any) -> None:
    session = stage.scheduler.state.sessions[b"s"]
    stage.cancel(OTHERS, client="other")
    stage.ignore()
    stage.watch(2, OTHERS, everyones=True)
    assert stage.only("deliver") == ["deliver s: 2 4"]
    assert session.foreign == {2, 4}
    stage.acknowledge(2, OTHERS)
    assert stage.only("write: taken") == []
    assert session.foreign == set()
    stage.acknowledge(OTHERS, session="t")
    assert stage.only("write: taken") == ["write: taken 4"]


def test_what_nobody_waits_for_is_not_taken_by_anothers_client(stage: Any) -> None:
    stage.leave("t", goodbye=True)
    stage.cancel(OTHERS, client="other")
    stage.ignore()
    stage.watch(OTHERS, everyones=True)
    stage.acknowledge(OTHERS)
    assert stage.only("write: taken", "deliver") == ["deliver s: 4"]


def test_an_operator_waits_for_the_end_of_others_jobs(stage: Any) -> None:
    stage.watch(3, OTHERS, everyones=True)
    stage.ignore()
    stage.cancel(3, OTHERS, client=None)
    assert sorted(stage.only("deliver")) == ["deliver s: 3 4", "deliver t: 4"]
    session = stage.scheduler.state.sessions[b"s"]
    assert session.foreign == {4}  # 3 is its own


def test_a_watch_of_others_jobs_holds_for_one_connection(stage: Any) -> None:
    stage.watch(OTHERS, everyones=True)
    other = stage.scheduler.state.clients["other"]
    assert [session.id for session in other.watchers] == [b"s"]
    stage.leave()
    assert list(other.watchers) == []
    stage.open()
    stage.cancel(OTHERS, client="other")
    assert stage.only("deliver") == ["deliver s: 1", "deliver t: 4"]


def test_what_was_on_its_way_is_marked_no_more_when_the_session_has_gone(stage: Any) -> None:
    stage.watch(2, everyones=True)
    stage.leave()
    assert stage.scheduler.state.sessions[b"s"].foreign == set()
    stage.ignore()


def test_many_jobs_of_several_clients_are_treated_slice_by_slice(stage: Any) -> None:
    for session in "stst":
        stage.submit(SLICE, session=session)
    stage.ignore()
    last = 4 + 4 * SLICE
    stage.cancel(*range(5, last + 1), client=None)
    stage.go_on()
    (answer,) = stage.only("answer")
    assert answer.count("'queued'") == 4 * SLICE
    stage.retry(*range(5, last + 1), client=None)
    stage.go_on()
    (answer,) = stage.only("answer")
    assert answer.count(":") == 4 * SLICE + 1
    jobs = stage.scheduler.state.clients
    assert (jobs["local"].jobs, jobs["other"].jobs) == (2 + 4 * SLICE, 2 + 4 * SLICE)
