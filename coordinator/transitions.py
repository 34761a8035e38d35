"""The states of a job, and the one table of what may follow what.

Theory of operation. A job waits (*queued*), is given to a worker as an attempt (*sent*), is begun
there by a child (*running*), and ends in one of five ways, for good. Three things make it go back:

- an attempt that had not begun is given back, or its worker is lost: queued again, nothing counted;
- an attempt that had begun is lost with its child or its worker: queued again, one loss counted,
  until the losses pass their bound and the job ends as *crashed*;
- an attempt failed or timed out, and the job has retries left: it is put off (*delayed*) for its
  back-off, then queued again.

::

                 ASSIGN          BEGIN
      (submit) queued ---> sent ---> running
                 ^ ^ \\       |  \\       |  \\
                 | |  \\      |   `------+---`--> succeeded, failed, crashed
                 | |   `-----+----------+-----> timed out, cancelled
                 | `-REQUEUE-+----------'              ^
                 |           | DELAY    | DELAY        |
                 `-REQUEUE-- delayed <--'--------------'

A fast job may be reported as ended before its start was announced, so every ending can follow
*sent*. *Succeeded* and *failed* cannot follow *queued*: nothing was tried; *crashed* follows it
only where what is stored of the job is damaged. Every change
of a job's state goes through this table (``State.move``); a change that it does not hold is a
mistake in the scheduler and is raised with the job's story.
"""

from __future__ import annotations

from typing import Final

from ..protocol.outcomes import Ending

QUEUED: Final = 0
SENT: Final = 1
RUNNING: Final = 2
DELAYED: Final = 3
SUCCEEDED: Final = 4
FAILED: Final = 5
TIMED_OUT: Final = 6
CANCELLED: Final = 7
CRASHED: Final = 8

ENDED: Final = SUCCEEDED
"""A state from here on is an end."""

STATE_NAMES: Final = (
    "queued",
    "sent",
    "running",
    "delayed",
    "succeeded",
    "failed",
    "timed out",
    "cancelled",
    "crashed",
)
"""The states as people read them, by number."""

STATES: Final = {name: number for number, name in enumerate(STATE_NAMES)}

ASSIGN: Final = 0
BEGIN: Final = 1
REQUEUE: Final = 2
DELAY: Final = 3
END: Final = 3
"""The move of an ending is ``END + ending``; it has the number of the state that it leads to."""

MOVE_NAMES: Final = (
    "assign",
    "begin",
    "requeue",
    "delay",
    *(f"end as {e}" for e in STATE_NAMES[ENDED:]),
)

ILLEGAL: Final = -1

_MOVES: dict[int, dict[int, int]] = {
    ASSIGN: {QUEUED: SENT},
    BEGIN: {SENT: RUNNING},
    REQUEUE: {SENT: QUEUED, RUNNING: QUEUED, DELAYED: QUEUED},
    DELAY: {SENT: DELAYED, RUNNING: DELAYED},
    END + Ending.SUCCEEDED: {SENT: SUCCEEDED, RUNNING: SUCCEEDED},
    END + Ending.FAILED: {SENT: FAILED, RUNNING: FAILED},
    END + Ending.TIMED_OUT: dict.fromkeys((QUEUED, SENT, RUNNING, DELAYED), TIMED_OUT),
    END + Ending.CANCELLED: dict.fromkeys((QUEUED, SENT, RUNNING, DELAYED), CANCELLED),
    END + Ending.CRASHED: dict.fromkeys((QUEUED, SENT, RUNNING), CRASHED),
}

TABLE: Final = tuple(
    tuple(_MOVES[move].get(state, ILLEGAL) for state in range(len(STATE_NAMES)))
    for move in range(len(MOVE_NAMES))
)
"""``TABLE[move][state]`` is the next state, or ``ILLEGAL``."""


_ENDINGS = tuple(
    Ending(state - END) if state >= ENDED else None for state in range(len(STATE_NAMES))
)


def ending_of(state: int) -> Ending | None:
    """How a job in this state ended; none while it has not."""
    return _ENDINGS[state]
