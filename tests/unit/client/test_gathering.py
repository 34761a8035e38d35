"""What a session that is busy submits goes in fewer frames."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.client.session import Session
from ampacity.protocol import pace
from twisted.internet.defer import Deferred

MOMENT = 0.001


class Busy:
    """A coordinator that answers when it is told to."""

    def __init__(self) -> None:
        self.frames: list[int] = []
        self.answers: list[Deferred[Any]] = []

    def submit(self, _sequence: int, submissions: Any, _group: Any) -> Deferred[Any]:
        self.frames.append(len(submissions))
        self.answers.append(Deferred())
        return self.answers[-1]


class Entry:
    id = frame = None


@pytest.fixture
def busy(session: Session, monkeypatch: pytest.MonkeyPatch) -> Busy:
    monkeypatch.setattr(pace, "GATHER", MOMENT)
    busy = Busy()
    session.connected(busy, 1)  # type: ignore[arg-type]  # as much of one as is asked
    return busy


def submit(session: Session, clock: Any) -> None:
    session.submit(Entry(), b"spec", b"payload")  # type: ignore[arg-type]  # as above
    clock.advance(0)


def test_the_first_job_leaves_in_its_turn_and_the_next_ones_together(
    session: Session, busy: Busy, clock: Any
) -> None:
    clock.advance(1)
    for _ in range(4):
        submit(session, clock)
    assert busy.frames == [1]
    clock.advance(MOMENT)
    assert busy.frames == [1, 3]
