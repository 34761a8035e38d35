"""Few acknowledgements wait for more of them, many do not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ampacity.coordinator.acknowledgements import MANY, WAIT, Acknowledgements
from ampacity.protocol.ids import JobId, SessionId
from twisted.internet.task import Clock

ONE, OTHER = SessionId(b"1" * 16), SessionId(b"2" * 16)


class Taken:
    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[SessionId, list[int]]] = []
        self.armed = 0
        self.waiting = Acknowledgements(self.clock, self._take, self._arm)

    def _take(self, session: SessionId, jobs: Sequence[JobId]) -> None:
        self.told.append((session, [*jobs]))

    def _arm(self) -> None:
        self.armed += 1

    def add(self, session: SessionId, *jobs: int) -> None:
        self.waiting.add(session, [JobId(job) for job in jobs])


@pytest.fixture
def taken() -> Taken:
    return Taken()


def test_few_are_taken_in_together_after_a_moment(taken: Taken) -> None:
    taken.add(ONE, 1)
    taken.clock.advance(WAIT / 2)
    taken.add(OTHER, 2)
    taken.add(ONE, 3)
    taken.waiting.end_turn()
    assert (taken.told, taken.armed) == ([], 0)
    taken.clock.advance(WAIT / 2)
    assert taken.told == [(ONE, [1, 3]), (OTHER, [2])]
    taken.add(ONE, 4)
    taken.clock.advance(WAIT)
    assert taken.told[2:] == [(ONE, [4])]


def test_many_end_their_turn(taken: Taken) -> None:
    taken.add(ONE, *range(MANY))
    assert taken.armed == 1
    assert taken.told == []
    taken.waiting.end_turn()
    assert taken.told == [(ONE, [*range(MANY)])]


def test_they_are_settled_when_it_matters(taken: Taken) -> None:
    taken.add(ONE, 1)
    taken.waiting.settle()
    assert taken.told == [(ONE, [1])]
    taken.clock.advance(WAIT)
    assert len(taken.told) == 1


def test_the_end_settles_them_and_leaves_nothing_behind(taken: Taken) -> None:
    taken.add(ONE, 1)
    taken.waiting.stop()
    assert taken.told == [(ONE, [1])]
    assert not taken.clock.getDelayedCalls()
