"""Jobs that have ended: run again, forgotten, looked at."""

from __future__ import annotations

import math
from typing import Any

import pytest
from ampacity import JobInfo
from ampacity.protocol.errors import NoSuchGroup, NoSuchJob, Refused
from ampacity.protocol.outcomes import ErrorText, Evidence, Outcome, pack_outcome
from twisted.internet.defer import fail, succeed

from .waiting import value


class Kept:
    """What a coordinator keeps of jobs, as the questions about it are answered."""

    def __init__(self, states: dict[int, str], group: int = 3) -> None:
        self.states = states
        self.group = group
        self.retried: dict[int, int] = {}
        self.forgets: list[list[int]] = []
        self.retries: list[list[int]] = []

    def forget(self, jobs: Any) -> Any:
        self.forgets.append(list(jobs))
        told = {}
        for job in jobs:
            state = self.states.get(job, "unknown")
            ended = state not in ("queued", "running", "unknown")
            told[job] = "forgotten" if ended else state
            if ended:
                del self.states[job]
        return succeed(told)

    def retry(self, jobs: Any) -> Any:
        self.retries.append(list(jobs))
        again = {}
        for job in jobs:
            ended = self.states.get(job, "queued") not in ("queued", "running")
            if ended and job not in self.retried:
                again[job] = self.retried[job] = max(self.states) + 1
                self.states[again[job]] = "queued"
        return succeed(again)

    def query(self, question: str, details: dict[str, Any]) -> Any:
        if "group" in details and details["group"] not in (None, self.group):
            return fail(NoSuchGroup())
        try:
            return succeed(getattr(self, question)(**details))
        except LookupError as e:
            return fail(NoSuchJob() if isinstance(e, KeyError) else e)

    def summary(self, job: int) -> dict[str, Any]:
        return {"id": job, "state": self.states[job], "retried": self.retried.get(job)}

    def job(self, job: int) -> dict[str, Any]:
        return self.summary(job)

    def select(self, after: int | None, limit: int, **_: Any) -> dict[str, Any]:
        ids = [job for job in self.states if job not in self.retried]
        return {"ids": [[job, 1] for job in ids], "next": None}

    def jobs(self, after: int | None, limit: int, state: str | None, **_: Any) -> dict[str, Any]:
        fits = [job for job in self.states if state in (None, self.states[job])]
        return {"jobs": [self.summary(job) for job in fits], "next": None}


@pytest.fixture
def kept(pool, clock, coordinator) -> Any:
    """Jobs 1 to 5, of which the group g3 consists; ``pool`` asks about these."""
    kept = Kept({1: "succeeded", 2: "failed", 3: "running", 4: "timed out", 5: "crashed"})
    pool.submit(math.sqrt, 1)
    clock.turn()
    coordinator.forget, coordinator.retry = kept.forget, kept.retry
    answers = kept.query
    coordinator.query = lambda question, details: (
        succeed({"name": "sqrts"}) if (question, details.get("group")) == ("group", 3)
        else answers(question, details)
    )  # fmt: skip
    return kept


def test_a_job_is_forgotten(pool, kept):
    assert value(pool.job(2).forget()) == "forgotten"
    assert value(pool.job(3).forget()) == "running"
    assert value(pool.job(99).forget()) == "unknown"


def test_what_is_meant_may_be_said_in_many_ways(pool, kept):
    assert value(pool.forget(1)) == 1
    assert value(pool.forget(["2", pool.job(3), 4])) == 2
    assert kept.forgets == [[1], [2, 3, 4]]
    assert value(pool.forget("g3")) == 1
    assert set(kept.states) == {3}
    assert value(pool.forget(())) == 0


def test_a_group_goes_with_what_was_run_again(pool, kept):
    kept.retried[2] = 1
    assert value(pool.group("g3").forget()) == 4
    assert set(kept.states) == {3}


def test_all_of_a_group_is_cancelled_read_or_not(pool, kept, clock, coordinator):
    group = pool.group("g3")
    value(group.cancel())
    assert coordinator.cancelled == [1, 2, 3, 4, 5]
    results = group.result()
    value(group.cancel())
    assert coordinator.cancelled == [1, 2, 3, 4, 5] * 2
    assert coordinator.closed_groups == {}
    results.addErrback(lambda _: None)


@pytest.mark.parametrize("which", [None, 2.5, [object()]])
def test_what_names_no_jobs(pool, kept, which):
    with pytest.raises(TypeError, match="a job or a group is meant"):
        value(pool.forget(which))


def test_a_text_that_is_no_id(pool, kept):
    with pytest.raises(ValueError, match="invalid literal"):
        value(pool.forget("seventeen"))
    with pytest.raises(ValueError, match="g3"):
        value(pool.retry("great"))


def test_groups_that_are_not_there(pool, kept):
    for ask in (pool.forget, pool.retry):
        with pytest.raises(NoSuchGroup):
            value(ask("g4"))


def test_many_are_forgotten_in_parts(pool, kept):
    kept.states = dict.fromkeys(range(1, 2501), "succeeded")
    assert value(pool.forget(range(1, 2501))) == 2500
    assert [len(part) for part in kept.forgets] == [1000, 1000, 500]


def test_a_job_runs_again_once(pool, kept):
    again = value(pool.job(2).retry())
    assert again.id == 6
    assert value(pool.job(2).retry()).id == 6  # as after a question whose answer was lost
    assert value(pool.job(1).retry()).id == 7  # named: however it ended


def test_what_has_not_ended_does_not_run_again(pool, kept):
    with pytest.raises(Refused, match="job 3 is running: it can be run again when it has ended"):
        value(pool.job(3).retry())
    with pytest.raises(NoSuchJob, match="no job 99"):
        value(pool.job(99).retry())


def test_of_a_group_what_did_not_succeed_runs_again(pool, kept):
    assert [job.id for job in value(pool.retry(pool.group("g3")))] == [6, 7, 8]
    assert kept.retried == {2: 6, 4: 7, 5: 8}
    assert value(pool.retry("g3")) == []


def test_a_group_is_read_anew_after_it_was_run_again(pool, kept, clock, coordinator):
    group = value(pool.group("g3").retry_failed())
    assert group.id == "g3"
    results = group.result()
    clock.turn()
    assert sorted(coordinator.watched) == [1, 3, 6, 7, 8]
    results.addErrback(lambda _: None)


def test_all_that_is_known_of_a_job(pool, kept, coordinator):
    evidence = Evidence(worker="w2", signal="SIGKILL", peak_memory=5, reason="out of memory")
    outcome = Outcome(
        error=ErrorText("shop.NoTea", "none", "Traceback"), evidence=evidence, tail=b"so long\n"
    )
    known = {
        "id": 9, "name": None, "target": "shop:brew", "state": "crashed", "group": 3, "place": 4,
        "worker": "w2", "submitted": 1.0, "began": 2.0, "ended": 3.0, "seconds": 1.0,
        "attempts": 3, "losses": 3, "failures": 1, "resume": None, "waiting": None, "key": "k",
        "retried": None, "retry_of": 7, "story": [[1.0, "queued"], [3.0, "crashed on w2"]],
        "body": pack_outcome(outcome), "spec": b"", "new": "a later version tells more",
    }  # fmt: skip
    coordinator.query = lambda question, details: succeed(known)
    info = value(pool.job(9).info())
    assert info == JobInfo(
        id=9, name="shop:brew", target="shop:brew", state="crashed", group="g3", place=4,
        worker="w2", submitted=1.0, began=2.0, ended=3.0, seconds=1.0, attempts=3, losses=3,
        failures=1, key="k", retry_of=7, story=((1.0, "queued"), (3.0, "crashed on w2")),
        error=outcome.error, evidence=evidence, output="so long\n",
    )  # fmt: skip
    for newer in ("failures", "resume"):
        del known[newer]
    assert value(pool.job(9).info()).failures == 0


def test_nothing_is_known_of_a_job_that_is_not_there(pool, kept):
    with pytest.raises(NoSuchJob, match="no job 99, or it was forgotten"):
        value(pool.job(99).info())
