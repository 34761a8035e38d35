"""A time-out that does not blame others for a standstill of this process."""

from __future__ import annotations

import pytest
from ampacity.protocol.steady import PAUSE, patiently
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.task import Clock
from twisted.python.failure import Failure


@pytest.fixture
def clock() -> Clock:
    return Clock()


def failure_of(deferred: Deferred[str]) -> type[BaseException] | None:
    failed: list[Failure] = []
    deferred.addErrback(failed.append)
    return failed[0].type if failed else None


def test_what_comes_in_time_comes_through(clock: Clock) -> None:
    waiting: Deferred[str] = Deferred()
    got: list[str] = []
    patiently(waiting, 5.0, clock).addCallback(got.append)
    clock.advance(4.9)
    waiting.callback("here")
    assert got == ["here"]
    assert clock.getDelayedCalls() == []


def test_what_does_not_come_is_cancelled(clock: Clock) -> None:
    waiting: Deferred[str] = Deferred()
    patient = patiently(waiting, 5.0, clock)
    clock.advance(5.0)
    assert failure_of(patient) is TimedOut


def test_whatever_a_cancelled_attempt_says_it_was_the_time(clock: Clock) -> None:
    def refuse(cancelled: Deferred[str]) -> None:
        cancelled.errback(ConnectingCancelledError(None))

    patient = patiently(Deferred[str](refuse), 5.0, clock)
    clock.advance(5.0)
    assert failure_of(patient) is TimedOut


def test_somebody_else_s_cancel_stays_one(clock: Clock) -> None:
    patient = patiently(Deferred[str](), 5.0, clock)
    patient.cancel()
    assert failure_of(patient) is CancelledError
    assert clock.getDelayedCalls() == []


def test_after_a_standstill_it_has_the_same_time_once_more(clock: Clock) -> None:
    waiting: Deferred[str] = Deferred()
    got: list[str] = []
    patiently(waiting, 5.0, clock).addCallback(got.append)
    clock.advance(5.0 + PAUSE + 0.1)
    assert not waiting.called
    clock.advance(4.9)
    waiting.callback("late, and through no fault of its own")
    assert got
