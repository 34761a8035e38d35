"""Ctrl-C, once and twice."""

from __future__ import annotations

import pytest
from ampacity.cli.interrupts import SECOND_CHANCE, Decision, Interrupts
from twisted.internet.task import Clock


class Pressed:
    def __init__(self, own: bool, lost: bool = False) -> None:
        self.clock = Clock()
        self.decisions: list[Decision] = []
        self.interrupts = Interrupts(self.clock, own, self.decisions.append, lambda: lost)


def test_the_first_one_asks_and_then_detaches(capsys: pytest.CaptureFixture[str]) -> None:
    case = Pressed(own=False)
    case.interrupts.pressed()
    assert "again within 3 s cancels" in capsys.readouterr().err
    case.clock.advance(SECOND_CHANCE - 0.1)
    assert case.decisions == []
    case.clock.advance(0.1)
    assert case.decisions == ["detach"]


def test_the_second_one_cancels_and_the_third_leaves() -> None:
    case = Pressed(own=False)
    for _ in range(3):
        case.interrupts.pressed()
    case.clock.advance(10)
    assert case.decisions == ["cancel", "leave"]


def test_on_a_pool_of_our_own_the_first_one_cancels() -> None:
    case = Pressed(own=True)
    case.interrupts.pressed()
    assert case.decisions == ["cancel"]


def test_when_it_is_over_nothing_is_decided() -> None:
    case = Pressed(own=False)
    case.interrupts.pressed()
    case.interrupts.stop()
    assert case.clock.getDelayedCalls() == []


def test_without_a_coordinator_the_first_one_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    case = Pressed(own=False, lost=True)
    case.interrupts.pressed()
    assert case.decisions == ["detach"]
    assert capsys.readouterr().err == ""
