"""What can happen to the scheduler. Each event says when; those with ``ask`` get an answer.

Batches, not single jobs: an event stands for a frame. ``Moment.now`` is monotonic and decides
everything that happens after a while; ``Moment.wall`` is UNIX time, and is kept and shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..protocol.ids import ClientId, JobId, SessionId, WorkerId
from ..protocol.jobs import Submission
from ..protocol.outcomes import Report
from ..protocol.ports import Beginning, Holding, WorkerInfo
from .kept import Found, Remembered


class Moment(NamedTuple):
    """A point in time on both clocks, in seconds."""

    now: float
    wall: float


# -- from clients ---------------------------------------------------------------------------------


class SessionOpened(NamedTuple):
    """A session begins, or is taken up again."""

    at: Moment
    client: ClientId
    session: SessionId


class SessionLeft(NamedTuple):
    """A session's connection is gone; for good, with ``goodbye``."""

    at: Moment
    session: SessionId
    goodbye: bool


class Submitted(NamedTuple):
    """A frame of submissions; every blob that they need is stored."""

    at: Moment
    ask: int
    session: SessionId
    sequence: int
    group: int | None
    submissions: Sequence[Submission]


class GroupClosed(NamedTuple):
    """All jobs of a session's own group have been submitted."""

    at: Moment
    ask: int
    session: SessionId
    group: int
    size: int


class CancelAsked(NamedTuple):
    """A client wants jobs ended; with ``queued_only``, those that have not begun."""

    at: Moment
    ask: int
    client: ClientId | None
    """Whose jobs; None: anybody's, as in the events below."""
    jobs: Sequence[JobId]
    queued_only: bool


class RetryAsked(NamedTuple):
    """A client wants ended jobs to be run again, as new ones of the same clients."""

    at: Moment
    ask: int
    client: ClientId | None
    jobs: Sequence[JobId]


class WatchAsked(NamedTuple):
    """A session wants the outcomes of a client's jobs, whichever session submitted them."""

    at: Moment
    ask: int
    client: ClientId | None
    session: SessionId
    jobs: Sequence[JobId]


class Acknowledged(NamedTuple):
    """A session has these outcomes."""

    at: Moment
    session: SessionId
    jobs: Sequence[JobId]


class ForgetAsked(NamedTuple):
    """A client wants ended jobs to be forgotten."""

    at: Moment
    ask: int
    client: ClientId | None
    jobs: Sequence[JobId]


class Read(NamedTuple):
    """Their client has read the outcomes of these jobs, by asking for them."""

    at: Moment
    jobs: Sequence[JobId]


# -- from workers ---------------------------------------------------------------------------------


class WorkerJoined(NamedTuple):
    """A worker joins, or comes back with the attempts that it holds."""

    at: Moment
    info: WorkerInfo
    held: Sequence[Holding]
    local: bool = False


class WorkerLeft(NamedTuple):
    """A worker's connection is gone; for good, with ``goodbye``."""

    at: Moment
    worker: WorkerId
    goodbye: bool


class Begun(NamedTuple):
    """Children have started these attempts."""

    at: Moment
    worker: WorkerId
    attempts: Sequence[Beginning]


class Finished(NamedTuple):
    """Attempts have ended."""

    at: Moment
    worker: WorkerId
    reports: Sequence[Report]


class Returned(NamedTuple):
    """A worker gives back attempts: not begun, or ended because it leaves. They count nothing."""

    at: Moment
    worker: WorkerId
    attempts: Sequence[Holding]


# -- from the clock -------------------------------------------------------------------------------


class Tick(NamedTuple):
    """The time that ``WakeAt`` asked for has come (or any other)."""

    at: Moment


class Continue(NamedTuple):
    """The next slice of what ``MoreToDo`` announced."""

    at: Moment


class Paused(NamedTuple):
    """This process stood still for so many seconds: nobody who is waited for is to blame."""

    at: Moment
    seconds: float


# -- from the store -------------------------------------------------------------------------------


class Restored(NamedTuple):
    """What an earlier coordinator has left; the first event, if any."""

    at: Moment
    remembered: Remembered


class Loaded(NamedTuple):
    """The answer to a ``Load``. None: it could not be read, and the task is given up."""

    at: Moment
    task: int
    found: Found | None


Event = (
    SessionOpened
    | SessionLeft
    | Submitted
    | GroupClosed
    | CancelAsked
    | RetryAsked
    | WatchAsked
    | ForgetAsked
    | Read
    | Acknowledged
    | WorkerJoined
    | WorkerLeft
    | Begun
    | Finished
    | Returned
    | Tick
    | Continue
    | Paused
    | Restored
    | Loaded
)
