"""Outcomes that somebody has, and those that nobody has fetched; and jobs that are given up."""

from __future__ import annotations

from typing import Any


def ended(stage: Any, count: int = 1) -> None:
    stage.submit(count)
    stage.cancel(*range(1, count + 1))
    stage.ignore()


def test_an_acknowledged_outcome_is_taken(either: Any) -> None:
    stage = either()
    ended(stage)
    assert not stage.job(1).taken
    stage.acknowledge(1)
    stage.expect("write: taken 1")
    assert stage.job(1).taken


def test_what_a_session_waits_for_is_not_taken_by_who_reads_it(either: Any) -> None:
    stage = either()
    stage.submit()
    stage.leave()
    stage.cancel(1)
    stage.ignore()
    stage.read(1)
    stage.expect()
    stage.open()
    stage.expect("opened s", "deliver s: 1")


def test_what_nobody_waits_for_is_taken_by_who_reads_it(either: Any) -> None:
    stage = either()
    stage.submit()
    stage.leave(goodbye=True)
    stage.cancel(1)
    stage.ignore()
    stage.read(1)
    stage.expect("write: taken 1")
    stage.read(1)
    stage.expect()


def test_untaken_outcomes_are_kept_and_refuse_submissions_when_they_fill_the_bound(
    either: Any,
) -> None:
    stage = either(retain_jobs=3)
    ended(stage, 3)
    stage.leave(goodbye=True)
    stage.open()
    stage.ignore()
    stage.submit()
    stage.expect("refuse 3: StorageFull")
    stage.retry(1)
    stage.expect("refuse 4: StorageFull")
    stage.forget(2)
    stage.expect("write: forgotten 2", "answer 5: {2: 'forgotten'}")
    stage.submit(sequence=2)
    assert stage.only("write: added") == ["write: added 4"]


def test_outcomes_on_their_way_make_their_session_wait(either: Any) -> None:
    """It is about to have them, and is not to fail for them; others are told that they fill it."""
    stage = either(retain_jobs=3)
    ended(stage, 3)
    stage.submit()
    stage.expect("refuse 3: QueueFull")
    stage.open("t")
    stage.ignore()
    stage.submit(session="t")
    stage.expect("refuse 4: StorageFull")
    stage.acknowledge(1)
    stage.ignore()
    stage.submit(sequence=2)
    assert stage.only("write: added") == ["write: added 4"]


def test_untaken_outcomes_are_forgotten_in_the_end(either: Any) -> None:
    stage = either(retain_untaken=100.0)
    ended(stage, 2)
    stage.leave()
    stage.later(161)
    stage.expect("write: forgotten 1 2")


def test_forgetting_says_what_became_of_each(either: Any) -> None:
    stage = either()
    ended(stage, 2)
    stage.submit()
    stage.ignore()
    stage.forget(1, 3, 99)
    stage.expect("write: forgotten 1", "answer 4: {1: 'forgotten', 3: 'queued', 99: 'unknown'}")
    stage.forget(2, client="other")
    stage.expect("answer 5: {2: 'unknown'}")
    stage.acknowledge(1, 2)
    stage.expect("write: taken 2")


def test_a_watch_holds_for_one_connection(either: Any) -> None:
    stage = either()
    stage.open("t")
    stage.submit(3)
    stage.watch(1, 2, session="t")
    stage.leave("t")
    stage.open("t")
    stage.ignore()
    stage.cancel(1)
    assert stage.only("deliver") == ["deliver s: 1"]
    stage.watch(1, 3, session="t")
    stage.cancel(3)
    assert stage.only("deliver") == ["deliver t: 1", "deliver s: 3", "deliver t: 3"]


def test_what_is_on_its_way_to_somebody_else_does_not_keep_retention_busy(either: Any) -> None:
    stage = either(retain_jobs=1)
    stage.open("t")
    stage.submit(2)
    stage.watch(1, 2, session="t")
    stage.cancel(1, 2)
    stage.acknowledge(1, 2)
    stage.ignore()
    stage.later(0.5)
    stage.expect()
    stage.acknowledge(1, 2, session="t")
    stage.later(61)
    stage.expect("write: forgotten 1")
