"""Every state of a job against everything that can happen to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ampacity.coordinator.transitions import (
    ASSIGN,
    BEGIN,
    END,
    ILLEGAL,
    MOVE_NAMES,
    REQUEUE,
    STATE_NAMES,
    TABLE,
    ending_of,
)
from ampacity.protocol.outcomes import Ending

# -- the table ------------------------------------------------------------------------------------


def test_an_ending_leads_to_the_state_of_its_words() -> None:
    for ending in Ending:
        if ending is not Ending.LOST:
            assert STATE_NAMES[END + ending] == ending.words
            assert ending_of(END + ending) is ending


def test_no_move_leads_out_of_an_end() -> None:
    for move in range(len(MOVE_NAMES)):
        assert all(TABLE[move][state] == ILLEGAL for state in range(END + 1, len(STATE_NAMES)))


def test_a_job_goes_forward_and_back_to_the_queue() -> None:
    assert TABLE[ASSIGN][:3] == (1, ILLEGAL, ILLEGAL)
    assert TABLE[BEGIN][:3] == (ILLEGAL, 2, ILLEGAL)
    assert TABLE[REQUEUE][:3] == (ILLEGAL, 0, 0)


# -- how a job comes into each state, by what happens to it ---------------------------------------


def _to_queued(stage: Any) -> None:
    stage.submit(deadline=60.0)


def _to_sent(stage: Any) -> None:
    stage.join()
    stage.submit(deadline=60.0)


def _to_running(stage: Any) -> None:
    _to_sent(stage)
    stage.begin(1)


def _to_end(ending: Ending) -> Callable[[Any], None]:
    def end(stage: Any) -> None:
        _to_running(stage)
        stage.finish(1, ending=ending)

    return end


def _to_crashed(stage: Any) -> None:
    _to_running(stage)
    for _ in range(3):
        stage.finish(1, ending=Ending.LOST)


def _to_lost_once(stage: Any) -> None:
    """Sent for the second time, after a loss."""
    _to_running(stage)
    stage.finish(1, ending=Ending.LOST)


STATES: dict[str, Callable[[Any], None]] = {
    "queued": _to_queued,
    "sent": _to_sent,
    "running": _to_running,
    "sent again": _to_lost_once,
    "succeeded": _to_end(Ending.SUCCEEDED),
    "failed": _to_end(Ending.FAILED),
    "timed out": _to_end(Ending.TIMED_OUT),
    "cancelled": _to_end(Ending.CANCELLED),
    "crashed": _to_crashed,
}
ENDS = ("succeeded", "failed", "timed out", "cancelled", "crashed")

EVENTS: dict[str, Callable[[Any], object]] = {
    "begin": lambda s: s.begin(1),
    "begin the first attempt": lambda s: s.begin(1, number=1),
    "succeed": lambda s: s.finish(1),
    "succeed in the first attempt": lambda s: s.finish(1, number=1),
    "fail": lambda s: s.finish(1, ending=Ending.FAILED),
    "time out": lambda s: s.finish(1, ending=Ending.TIMED_OUT),
    "be cancelled": lambda s: s.finish(1, ending=Ending.CANCELLED),
    "crash": lambda s: s.finish(1, ending=Ending.CRASHED),
    "be lost": lambda s: s.finish(1, ending=Ending.LOST),
    "be lost before the start": lambda s: s.finish(1, ending=Ending.LOST, began=False),
    "be given back": lambda s: s.give_back(1),
    "report by another worker": lambda s: s.finish(1, name="unknown"),
    "cancel": lambda s: s.cancel(1),
    "cancel if queued": lambda s: s.cancel(1, queued_only=True),
    "deadline": lambda s: s.later(61),
    "worker away": lambda s: s.lose(),
    "worker lost": lambda s: (s.lose(), s.later(6)),
    "worker leaves": lambda s: s.lose(goodbye=True),
    "session away": lambda s: (s.leave(), s.later(11)),
    "session leaves": lambda s: s.leave(goodbye=True),
    "acknowledge": lambda s: s.acknowledge(1),
    "watch": lambda s: s.watch(1),
    "retry": lambda s: s.retry(1),
    "an empty tick": lambda s: s.later(0.01),
}

CHANGES: dict[tuple[str, str], str] = {
    ("queued", "cancel"): "cancelled",
    ("queued", "cancel if queued"): "cancelled",
    ("queued", "deadline"): "timed out",
    ("sent", "begin"): "running",
    ("sent", "begin the first attempt"): "running",
    ("sent", "succeed in the first attempt"): "succeeded",
    ("running", "succeed in the first attempt"): "succeeded",
    ("sent again", "begin"): "running",
    ("running", "be lost"): "sent",
    ("running", "be lost before the start"): "sent",
    **{
        (state, event): end
        for state in ("sent", "running", "sent again")
        for event, end in {
            "succeed": "succeeded",
            "fail": "failed",
            "time out": "timed out",
            "be cancelled": "cancelled",
            "crash": "crashed",
            "worker lost": "queued",
            "worker leaves": "queued",
        }.items()
    },
    # given back or lost, it goes to the same worker again
    ("running", "be given back"): "sent",
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_every_state_against_every_event(stages: Any, state: str, event: str) -> None:
    stage = stages()
    stage.open()
    STATES[state](stage)
    name = "sent" if state == "sent again" else state
    assert stage.state(1) == name
    EVENTS[event](stage)
    assert stage.state(1) == CHANGES.get((state, event), name)
    stage.ignore()


@pytest.mark.parametrize("state", ENDS)
def test_an_end_is_recorded_once(stages: Any, state: str) -> None:
    stage = stages()
    stage.open()
    STATES[state](stage)
    stage.ignore()
    for event in EVENTS.values():
        event(stage)
    assert stage.only("write: ended 1 ") == []


def test_an_internal_error_tells_the_story_of_the_job(stage: Any) -> None:
    from ampacity.coordinator.state import IllegalMove

    _to_running(stage)
    stage.ignore()
    state = stage.scheduler.state
    with pytest.raises(IllegalMove) as caught:
        state.move(state.jobs[1], ASSIGN)
    text = str(caught.value)
    assert "assign is not possible: job 1, running, attempt (7, 1), 0 losses" in text
    assert "submitted" in text and "sent w" in text and "began w" in text


def test_a_story_is_short(stage: Any) -> None:
    stage.join()
    stage.submit()
    for _ in range(40):
        stage.give_back(1)
    assert len(stage.scheduler.state.jobs[1].story) == 16
    stage.ignore()
