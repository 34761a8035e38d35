"""What a store keeps, as plain data, and what the scheduler asks it for.

A job whose record is in the scheduler's memory is *hot*. One that waits far behind in a long
queue, or has ended and is on its way to nobody, is *cold*: only the store knows it. A job becomes
cold only when every write about it has been handed to the store, and hot again only by an answer
to a ``Load``, which is read after those writes; so each job has one truth at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..protocol.ids import Attempt, ClientId, GroupId, JobId, SessionId, WorkerId
from ..protocol.jobs import BlobRef, Payload
from ..protocol.outcomes import Ending
from ..protocol.ports import Accepted, WorkerInfo

StoryEvent = tuple[float, str, str]
"""UNIX time, what happened, and where or why."""


class KeptJob(NamedTuple):
    """One job. Times are UNIX time in seconds."""

    id: JobId
    client: ClientId
    session: SessionId | None
    spec: bytes
    payload: Payload
    key: str | None
    group: GroupId | None
    place: int | None
    submitted: float
    state: int
    """As in ``transitions``."""
    attempt: Attempt | None
    worker: WorkerId | None
    losses: int
    failures: int
    """Attempts that failed or timed out and were followed by another one."""
    why: str | None
    due: float | None
    """Its deadline."""
    resume: float | None
    """When its next attempt may begin, while it waits for that."""
    began: float | None
    ended: float | None
    seconds: float
    taken: bool
    """Whether somebody has its outcome."""
    blobs: tuple[BlobRef, ...]
    """What its outcome refers to."""
    kept: int
    """Bytes of its payload, outcome and log, once it has ended."""
    retried: JobId | None
    """What it was run again as."""
    retry_of: JobId | None
    """What it is another run of."""
    story: tuple[StoryEvent, ...]
    damage: str = ""
    """What does not fit its checksum; then no field but the id can be relied upon."""


class Stored(NamedTuple):
    """What is kept of a job's end: how it ended, the packed outcome, the packed log."""

    ending: Ending
    body: bytes
    log: bytes


# -- what the scheduler asks for ------------------------------------------------------------------


class ByIds(NamedTuple):
    """These jobs, those of them that are known, in any order."""

    jobs: Sequence[JobId]


class ByKeys(NamedTuple):
    """A client's jobs that have these keys."""

    client: ClientId
    keys: Sequence[str]


class Backlog(NamedTuple):
    """Ended jobs of a session that nobody has taken, with ids above ``after``, ascending."""

    session: SessionId
    after: JobId
    limit: int


class Oldest(NamedTuple):
    """The ended jobs that ended first, of those that were ``taken`` or of those that were not."""

    taken: bool
    limit: int


class Orphans(NamedTuple):
    """Unfinished jobs of a session that end with it (``orphans="cancel"``), as ``Backlog``."""

    session: SessionId
    after: JobId
    limit: int


Question = ByIds | ByKeys | Backlog | Oldest | Orphans


class Found(NamedTuple):
    """The answer: the jobs' ids, and what is kept of those that are not in memory anyway."""

    ids: Sequence[JobId]
    rows: Sequence[KeptJob] = ()


# -- what people ask for --------------------------------------------------------------------------


class Listing(NamedTuple):
    """Some of a client's jobs, or of everyone's where it names none, in the order of their ids, or
    of their places in a group."""

    client: ClientId | None
    limit: int
    after: int | None = None
    """Only what comes after this id, or place, in the order."""
    newest: bool = False
    """The highest id first."""
    last: int | None = None
    """No id above this one."""
    group: GroupId | None = None
    states: frozenset[int] | None = None
    name: str | None = None
    unretried: bool = False
    """Without those that were run again."""
    by_place: bool = False
    """The latest job of each place of ``group``, by place."""


class Page(NamedTuple):
    """Some of the jobs of a listing, and the next page's ``after``; None: these are all."""

    ids: list[JobId]
    next: int | None


# -- what a coordinator finds when it starts ------------------------------------------------------


class KeptGroup(NamedTuple):
    """One group, and how many of its places have their latest job in each state."""

    id: GroupId
    client: ClientId
    session: SessionId
    own: int
    name: str | None
    size: int | None
    submitted: float
    counts: Sequence[int]
    jobs: int
    """Its known jobs, those that were run again as well."""
    first: JobId | None
    last: JobId | None


class KeptSession(NamedTuple):
    """One session: its sequence numbers, and its last answers by theirs, in their order."""

    id: SessionId
    client: ClientId
    next_sequence: int
    seen: Sequence[int]
    answers: Mapping[int, Accepted]


class KeptWorker(NamedTuple):
    """A worker that holds attempts, or was connected when the last coordinator ended."""

    name: WorkerId
    info: WorkerInfo
    local: bool
    """It lived and died with the coordinator's process."""
    since: float


class QueuedRun(NamedTuple):
    """Waiting jobs with consecutive ids and all of this in common."""

    first: JobId
    jobs: int
    client: ClientId
    python: str | None
    due: float | None
    """Their deadline, in UNIX time."""


class Holdings(NamedTuple):
    """What one client has in a store, of what is bounded."""

    unfinished: int = 0
    """Jobs that have not ended."""
    pending_bytes: int = 0
    """Bytes of the inline payloads of those."""
    untaken: tuple[int, int] = (0, 0)
    """Ended jobs that nobody has taken, and their bytes (``KeptJob.kept``)."""


class Remembered(NamedTuple):
    """All that a coordinator has to know of its store before it serves."""

    next_job: int = 1
    next_group: int = 1
    counts: Sequence[int] = ()
    """Known jobs by state."""
    jobs: Mapping[ClientId, int] = {}
    """Known jobs by client."""
    pending_bytes: int = 0
    """Bytes of the inline payloads of unfinished jobs."""
    taken: tuple[int, int] = (0, 0)
    """Ended jobs that somebody has taken, and their bytes (``KeptJob.kept``)."""
    untaken: tuple[int, int] = (0, 0)
    """The same of those that nobody has taken."""
    groups: Sequence[KeptGroup] = ()
    sessions: Sequence[KeptSession] = ()
    workers: Sequence[KeptWorker] = ()
    live: Sequence[KeptJob] = ()
    """Jobs that are sent, running, or wait for their next attempt."""
    queued: Sequence[QueuedRun] = ()
    """Jobs that wait, by ascending ids."""
    blobs: Mapping[bytes, int] = {}
    """References to blobs, by digest."""
    shares: Mapping[ClientId, Holdings] = {}
    """What each client has of all this."""
