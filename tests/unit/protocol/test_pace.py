"""How often frames leave that are not full."""

from __future__ import annotations

from ampacity.protocol.pace import GATHER, Pace
from twisted.internet.task import Clock


def test_the_first_one_leaves_at_once_and_the_next_a_moment_later() -> None:
    pace = Pace(clock := Clock())
    assert pace.wait(unanswered=1) == 0.0
    pace.left()
    assert pace.wait(unanswered=1) == GATHER
    clock.advance(GATHER / 4)
    assert GATHER / 2 < pace.wait(unanswered=1) < GATHER
    clock.advance(GATHER)
    assert pace.wait(unanswered=1) == 0.0


def test_nothing_waits_for_who_has_answered_all() -> None:
    pace = Pace(Clock())
    pace.left()
    assert pace.wait(unanswered=0) == 0.0


def test_a_clock_that_was_set_holds_nothing_up() -> None:
    pace = Pace(clock := Clock())
    clock.advance(3600)
    pace.left()
    clock.rightNow -= 1800
    assert pace.wait(unanswered=1) == 0.0
