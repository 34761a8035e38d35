"""The checker on drawn histories: right ones are proved, and one change makes them wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from ampacity.cli.chaos_check import LOST, STALE, TWICE, UNEXPECTED, check
from ampacity.cli.chaos_history import (
    Accepted,
    Delivered,
    Found,
    Invoked,
    Started,
    Struck,
    event_of,
    events_of,
    line_of,
    lines_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

KINDS = ("short", "fails", "endless", "cancelled", "crashes", "flaky", "item")
AGENT = 500

several = st.lists(st.sampled_from(KINDS), min_size=1, max_size=12)
in_a_fixture = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def lose_attempts(written: Any, job: int, times: int) -> None:
    """Let executions of a job be struck, before the one that counts."""
    for number in range(times):
        at = -10.0 * (number + 1)
        written.run(job, number + 1, at, ends=False)
        written.events.append(Struck(at + 0.5, at + 0.5, "kill-worker", "w1", AGENT))
    found = next(e for e in written.events if isinstance(e, Found) and e.job == job)
    run = None
    for index, event in enumerate(written.events):
        if isinstance(event, Started) and event.job == job and event.at > 0:
            number = int(event.attempt.partition(".")[2]) + times
            written.events[index] = event._replace(attempt=f"1.{number}")
            run = event.run
    assert run is not None
    written.change(Found, job, attempts=found.attempts + times, losses=times)


@in_a_fixture
@given(kinds=several, data=st.data(), seed=st.integers(0, 1000))
def test_a_history_that_keeps_the_promises_is_proved_in_any_order(
    write: Any, kinds: list[str], data: st.DataObject, seed: int
) -> None:
    written = write(*kinds)
    for task in written.plan:
        if task.kind not in ("crashes", "cancelled"):
            lose_attempts(written, task.job, data.draw(st.integers(0, 2)))
    random.Random(seed).shuffle(written.events)
    verdict = check(written.plan, written.events)
    assert verdict.wrongs == []
    assert verdict.proved
    assert verdict.again <= verdict.in_flight


def lose(written: Any, job: int) -> str:
    written.drop(Found, job)
    return LOST


def withhold(written: Any, job: int) -> str:
    written.drop(Delivered, job)
    return LOST


def never_submit(written: Any, job: int) -> str:
    written.drop(Invoked, job)
    return UNEXPECTED


def deliver_twice(written: Any, job: int) -> str:
    written.events.append(
        next(e for e in written.events if isinstance(e, Delivered) and e.job == job)
    )
    return TWICE


def accept_twice(written: Any, job: int) -> str:
    written.events.append(Accepted(3.0, "0.0", job, 10_000 + job))
    return UNEXPECTED


def spoil(written: Any, job: int) -> str:
    written.change(Found, job, ending="failed", run="nobody's")
    return UNEXPECTED


def give_up(written: Any, job: int) -> str:
    """Its outcome is an attempt's that was not the current one any more."""
    found = next(e for e in written.events if isinstance(e, Found) and e.job == job)
    if found.run is None:
        return spoil(written, job)
    written.change(Found, job, attempts=found.attempts + 1)
    return STALE


CHANGES: list[Callable[[Any, int], str]] = [
    lose,
    withhold,
    never_submit,
    deliver_twice,
    accept_twice,
    spoil,
    give_up,
]


@in_a_fixture
@given(kinds=several, change=st.sampled_from(CHANGES), data=st.data())
def test_one_change_is_found(
    write: Any, kinds: list[str], change: Callable[[Any, int], str], data: st.DataObject
) -> None:
    written = write(*kinds)
    job = data.draw(st.integers(0, len(kinds) - 1))
    expected = change(written, job)
    verdict = check(written.plan, written.events)
    assert not verdict.proved
    assert (expected, job) in [(wrong.kind, wrong.job) for wrong in verdict.wrongs]
    assert {wrong.job for wrong in verdict.wrongs} == {job}


@in_a_fixture
@given(kinds=several, cut=st.integers(0, 200))
def test_histories_are_read_as_they_were_written(write: Any, kinds: list[str], cut: int) -> None:
    events = write(*kinds).events
    data = lines_of(events)
    assert events_of(data) == events
    assert [event_of(line_of(event)) for event in events] == events
    killed = events_of(data[: len(data) - cut] if cut else data)
    assert killed == events[: len(killed)]
