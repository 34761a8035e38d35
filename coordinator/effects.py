"""What the scheduler wants done. The driver commits the writes first, and tells the rest after.

Order: ``handle`` returns writes before what they make true. The driver may join the effects of
several events, keeping their order, and commit all of their writes at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..protocol.errors import AmpacityError
from ..protocol.ids import JobId
from ..protocol.jobs import Assignment
from ..protocol.ports import Accepted, Ended, Holding
from .kept import Question
from .records import GroupRecord, JobRecord, SessionRecord, WorkerRecord

# -- writes: a store reads what it needs of the records before ``commit`` returns -----------------


class JobsAdded(NamedTuple):
    """New jobs, all queued."""

    jobs: list[JobRecord]


class GroupSaved(NamedTuple):
    """A new group, or one whose size is known now."""

    group: GroupRecord


class SessionSaved(NamedTuple):
    """A session has had this frame: its sequence numbers have changed, and this was the answer."""

    session: SessionRecord
    sequence: int
    answer: Accepted


class WorkerSaved(NamedTuple):
    """A new worker."""

    worker: WorkerRecord


class AttemptsMade(NamedTuple):
    """Jobs given to a worker, as the attempt that each record names."""

    worker: WorkerRecord
    jobs: list[JobRecord]


class JobsChanged(NamedTuple):
    """Jobs whose record has changed otherwise: begun, queued again, waiting, run again."""

    jobs: list[JobRecord]


class Outcome(NamedTuple):
    """One ended job: what to keep of its end besides its record."""

    job: JobRecord
    body: bytes
    log: bytes


class JobsEnded(NamedTuple):
    """Jobs that have their one outcome."""

    outcomes: list[Outcome]


class JobsTaken(NamedTuple):
    """Ended jobs whose outcome somebody has now, by id."""

    jobs: list[JobId]


class JobsForgotten(NamedTuple):
    """Jobs that retention has given up, by id."""

    jobs: list[JobId]


class GroupForgotten(NamedTuple):
    """A group without jobs."""

    group: GroupRecord


class SessionForgotten(NamedTuple):
    """A session that will not come back."""

    session: SessionRecord


class WorkerForgotten(NamedTuple):
    """A worker that will not come back, and holds nothing."""

    worker: WorkerRecord


class Hold(NamedTuple):
    """Blobs that something refers to; each mention counts. Told as well as written."""

    digests: list[bytes]


class Release(NamedTuple):
    """References to blobs that are gone; each mention counts. Told as well as written."""

    digests: list[bytes]


Write = (
    JobsAdded
    | GroupSaved
    | SessionSaved
    | WorkerSaved
    | AttemptsMade
    | JobsChanged
    | JobsEnded
    | JobsTaken
    | JobsForgotten
    | GroupForgotten
    | SessionForgotten
    | WorkerForgotten
    | Hold
    | Release
)

# -- what is told ---------------------------------------------------------------------------------


class Answer(NamedTuple):
    """The answer to an event's ``ask``."""

    ask: int
    value: Any


class Refuse(NamedTuple):
    """An event's ``ask`` fails."""

    ask: int
    error: AmpacityError


class Joined(NamedTuple):
    """A worker is known under this name, and shall drop these attempts."""

    worker: WorkerRecord
    drop: list[Holding]


class Gone(NamedTuple):
    """A worker is not known any more."""

    worker: WorkerRecord


class Opened(NamedTuple):
    """A session is open."""

    session: SessionRecord


class Silent(NamedTuple):
    """A session has been away for its grace, or has left: nobody listens there."""

    session: SessionRecord


class Assign(NamedTuple):
    """Attempts for a worker."""

    worker: WorkerRecord
    assignments: list[Assignment]


class End(NamedTuple):
    """Attempts that a worker shall end."""

    worker: WorkerRecord
    attempts: list[Ended]


class Retract(NamedTuple):
    """Attempts that a worker shall give back if they have not begun."""

    worker: WorkerRecord
    attempts: list[Holding]


class Deliver(NamedTuple):
    """Outcomes that a connected session is owed, by job."""

    session: SessionRecord
    jobs: list[JobId]
    opening: int
    """Which of the session's connections they are for: the next one is owed them anew."""


class Load(NamedTuple):
    """A task goes on with a ``Loaded`` that answers this; asked in order, one at a time.

    It is read when everything up to now is committed.
    """

    task: int
    question: Question


class WakeAt(NamedTuple):
    """Send a ``Tick`` at this monotonic time; replaces the last one. None: not needed."""

    now: float | None


class MoreToDo(NamedTuple):
    """Send a ``Continue`` soon, after other things had their turn."""


Effect = (
    Write
    | Answer
    | Refuse
    | Joined
    | Gone
    | Opened
    | Silent
    | Assign
    | End
    | Retract
    | Deliver
    | Load
    | WakeAt
    | MoreToDo
)
