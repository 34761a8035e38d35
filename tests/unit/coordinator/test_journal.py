"""What a session does is in the log by its credential, counted and not job by job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import pytest
from ampacity.coordinator.journal import TOGETHER, Journal
from ampacity.protocol.ids import ClientId
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher

Lines = Callable[[], list[str]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    events: list[LogEvent] = []
    observer = cast(ILogObserver, events.append)  # any callable is one
    globalLogPublisher.addObserver(observer)
    yield lambda: [formatEvent(event) for event in events if "client" in event]
    globalLogPublisher.removeObserver(observer)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_second_of_submissions_is_one_line(clock: Clock, lines: Lines) -> None:
    journal = Journal(clock, ClientId("a-token"), "10.0.0.1:5")
    for _ in range(1000):
        journal.count("submitted", 64)
    journal.count("asked to cancel", 3)
    assert lines() == []
    clock.advance(TOGETHER)
    assert lines() == ["a-token submitted 64000, asked to cancel 3 jobs, 10.0.0.1:5"]
    clock.advance(10 * TOGETHER)
    assert clock.getDelayedCalls() == []


def test_what_is_not_told_yet_is_told_at_the_end(clock: Clock, lines: Lines) -> None:
    journal = Journal(clock, ClientId("local"), "a local process")
    journal.count("submitted", 1)
    journal.end()
    assert lines() == ["local submitted 1 job, a local process"]
    assert clock.getDelayedCalls() == []


def test_without_a_clock(lines: Lines) -> None:
    journal = Journal(None, ClientId("local"), "a local process")
    journal.count("submitted", 2)
    journal.note("stops the coordinator")
    journal.end()
    assert lines() == [
        "local stops the coordinator, a local process",
        "local submitted 2 jobs, a local process",
    ]
