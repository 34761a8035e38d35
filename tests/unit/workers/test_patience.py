"""Waits that a stopped process does not use up."""

from __future__ import annotations

from ampacity.workers.patience import Patience
from twisted.internet.task import Clock


def advance(clock: Clock, seconds: float) -> None:
    clock.pump([0.1] * round(seconds * 10))


def test_it_calls_after_its_time() -> None:
    clock = Clock()
    calls: list[float] = []
    wait = Patience(clock, 2.5, lambda: calls.append(clock.seconds()))
    advance(clock, 2.4)
    assert wait.active and calls == []
    advance(clock, 0.3)
    assert not wait.active
    assert calls == [calls[0]] and 2.4 < calls[0] < 2.7
    assert clock.getDelayedCalls() == []


def test_at_once_is_the_next_turn() -> None:
    clock = Clock()
    calls: list[int] = []
    Patience(clock, 0, lambda: calls.append(1))
    assert calls == []
    clock.advance(0)
    assert calls == [1]


def test_a_pause_is_not_counted() -> None:
    clock = Clock()
    calls: list[int] = []
    wait = Patience(clock, 3, lambda: calls.append(1))
    advance(clock, 1.5)
    clock.advance(3600)
    assert calls == []
    assert wait.left() <= 2
    advance(clock, 1.5)
    assert calls == []
    advance(clock, 0.7)
    assert calls == [1]


def test_it_can_be_shortened_and_not_made_longer() -> None:
    clock = Clock()
    calls: list[int] = []
    wait = Patience(clock, 10, lambda: calls.append(1))
    advance(clock, 1)
    wait.shorten(20)
    wait.shorten(0.5)
    advance(clock, 0.6)
    assert calls == [1]
    wait.shorten(0)
    wait.stop()
    assert clock.getDelayedCalls() == []


def test_it_can_be_given_up() -> None:
    clock = Clock()
    wait = Patience(clock, 1, lambda: 1 / 0)
    wait.stop()
    clock.advance(5)
    assert wait.left() == 0
