"""Groups without jobs go with their session, thousands of them in slices."""

from __future__ import annotations

from typing import Any

from ampacity.coordinator.state import SLICE, SLICES


def empty_groups(stage: Any, count: int) -> None:
    for number in range(1, count + 1):
        stage.submit(0, group=number)
    stage.ignore()


def test_thousands_go_in_slices(stages: Any) -> None:
    stage = stages()
    stage.open()
    count = SLICE * (SLICES + 2)
    empty_groups(stage, count)
    stage.leave(goodbye=True)
    left = len(stage.scheduler.state.groups)
    assert 0 < count - left <= SLICE * SLICES
    stage.go_on()
    assert not stage.scheduler.state.groups
    assert not stage.scheduler.state.clients
    stage.ignore()


def test_a_session_of_the_same_name_keeps_none_of_them(stages: Any) -> None:
    stage = stages()
    stage.open()
    empty_groups(stage, SLICE * 3)
    stage.leave(goodbye=True)
    stage.open()
    stage.submit(1, group=SLICE * 3)
    stage.go_on()
    (group,) = stage.scheduler.state.groups.values()
    (session,) = stage.scheduler.state.sessions.values()
    assert list(session.groups.values()) == [group]
    assert group.jobs == 1
    stage.ignore()
