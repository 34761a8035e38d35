"""What the scheduler remembers: one record a job, group, spec, client, session and worker.

They refer to each other upwards only (a job knows its group, never the reverse), so that nothing
here waits for the garbage collector; the one exception, a worker and the jobs that it holds, is
undone when an attempt ends. A queued job costs its record, its id, an entry in the dictionary of
jobs and one in a queue: under 400 bytes besides its payload. Whatever many jobs have in common
(spec, attempt, times of one event, story of one event) is one object.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ..protocol.ids import Attempt, ClientId, GroupId, JobId, SessionId, WorkerId
from ..protocol.jobs import BlobRef, JobSpec, Payload
from ..protocol.ports import Accepted, WorkerInfo
from .kept import StoryEvent
from .tallies import Tally
from .transitions import QUEUED, STATE_NAMES

if TYPE_CHECKING:
    from .events import WatchAsked
    from .placement import Lane
    from .queues import JobQueue
    from .state import Task

STORY_LENGTH = 16


class CostRecord:
    """What a function's jobs take: a smoothed number of seconds, or None before the first."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds: float | None = None


class SpecRecord:
    """One spec that jobs share; lives as long as a hot job uses it."""

    __slots__ = ("blobs", "cost", "jobs", "packed", "spec")

    def __init__(self, packed: bytes, spec: JobSpec, cost: CostRecord) -> None:
        self.packed = packed
        self.spec = spec
        self.cost = cost
        self.blobs = spec.blobs()
        self.jobs = 0
        """Hot jobs of this spec."""


class ClientRecord:
    """One client, as long as it has a session, a job or a group here."""

    __slots__ = (
        "groups",
        "id",
        "jobs",
        "keys",
        "passed",
        "pending_bytes",
        "queues",
        "runs",
        "sessions",
        "unfinished",
        "untaken",
        "watchers",
    )

    def __init__(self, identity: ClientId) -> None:
        self.id = identity
        self.queues: dict[str | None, JobQueue] = {}
        """Its waiting jobs, by the Python that they need."""
        self.jobs = 0
        """Its known jobs, cold ones as well."""
        self.unfinished = 0
        """Those of them that have not ended."""
        self.pending_bytes = 0
        """Bytes of the payloads of those."""
        self.passed = 0
        """How often others had its turn, see ``queues.PASSES``."""
        self.untaken = Tally()
        """Those that have ended and whose outcome nobody has."""
        self.keys: dict[str, JobId] = {}
        """The keys of its hot jobs."""
        self.runs: list[list[int]] = []
        """Its jobs' ids as ``[first, count]``, ascending; some may be forgotten. Only where all
        jobs are hot: elsewhere, the store knows them."""
        self.groups: dict[GroupId, GroupRecord] = {}
        self.sessions = 0
        self.watchers: dict[SessionRecord, None] = {}
        """Sessions that watch unfinished jobs of it."""


class GroupRecord:
    """The jobs of one ``map``."""

    __slots__ = (
        "client",
        "counts",
        "first",
        "id",
        "jobs",
        "last",
        "name",
        "own",
        "runs",
        "session",
        "size",
        "submitted",
    )

    def __init__(
        self,
        identity: GroupId,
        client: ClientRecord,
        session: SessionId,
        own: int,
        submitted: float,
    ) -> None:
        self.id = identity
        self.client = client
        self.session = session
        self.own = own
        """The number that the session gave it."""
        self.name: str | None = None
        self.size: int | None = None
        """How many jobs it has, once it is closed."""
        self.submitted = submitted
        self.counts = [0] * len(STATE_NAMES)
        """Its places by the state of their latest jobs, as far as those are known."""
        self.jobs = 0
        """Its known jobs, those that were run again as well."""
        self.first: JobId | None = None
        self.last: JobId | None = None
        self.runs: list[list[int]] = []
        """As those of a client."""


class SessionRecord:
    """One session of a client: its sequence numbers, its groups, and what it is owed."""

    __slots__ = (
        "answers",
        "behind",
        "client",
        "connected",
        "due",
        "foreign",
        "gone",
        "groups",
        "id",
        "keyed",
        "missed",
        "next_sequence",
        "open_groups",
        "openings",
        "outbox",
        "parked",
        "reading",
        "seen",
        "watch_ids",
        "watched",
        "watches",
        "watching",
    )

    def __init__(self, identity: SessionId, client: ClientRecord) -> None:
        self.id = identity
        self.client = client
        self.connected = True
        self.openings = 0
        """How often it was opened, in this reign."""
        self.gone = False
        self.due: float | None = None
        self.next_sequence = 1
        self.seen: set[int] = set()
        """Numbers above ``next_sequence`` that were accepted while a lower one was not."""
        self.answers: dict[int, Accepted] = {}
        """The last answers, for frames that are sent again."""
        self.groups: dict[int, GroupRecord] = {}
        self.open_groups = 0
        """Those of them that are not closed."""
        self.keyed = 0
        """Frames that wait for the store, which is asked for the jobs of their keys."""
        self.outbox: dict[JobId, None] = {}
        """Ended jobs that are on their way to it."""
        self.behind = False
        """Whether the store has more of its ended jobs that nobody has taken."""
        self.reading: set[JobId] | None = None
        """While those are read: what it has acknowledged meanwhile."""
        self.missed = False
        """Whether such a job has ended since the reading began."""
        self.watched: list[list[int]] = []
        """Ids of unfinished jobs that it wants to hear of, as ``[first, count]``, ascending."""
        self.watches: deque[WatchAsked] = deque()
        """Such questions that were not answered yet."""
        self.watch_ids = 0
        """How many ids they name."""
        self.parked: Task | None = None
        """What goes on with them when it has taken some of what is on its way to it."""
        self.watching: dict[ClientRecord, None] = {}
        """Other clients, of whose jobs some are among those."""
        self.foreign: set[JobId] = set()
        """Other clients' jobs among those on their way to it: it is told no values of them."""


class WorkerRecord:
    """One worker process, connected or away."""

    __slots__ = (
        "away",
        "due",
        "failed",
        "finished",
        "held",
        "info",
        "lane",
        "local",
        "lost",
        "name",
        "recall",
        "retracting",
        "running",
        "since",
        "unlisted",
        "work",
    )

    def __init__(
        self, name: WorkerId, info: WorkerInfo, lane: Lane, since: float, local: bool = False
    ) -> None:
        self.name = name
        self.info = info
        self.lane = lane
        self.since = since
        self.local = local
        """It lives and dies with the coordinator's process."""
        self.away = False
        self.due: float | None = None
        self.held: dict[JobId, JobRecord] = {}
        """Its attempts in the order in which they were assigned."""
        self.running: dict[JobId, JobRecord] = {}
        self.retracting: set[JobId] = set()
        self.unlisted: set[JobId] = set()
        """Attempts that it did not name when it came back: their reports may be on the way."""
        self.recall = 0.0
        """When those are given up, at the earliest."""
        self.work = 0.0
        """Estimated seconds of all that it holds."""
        self.finished = 0
        self.failed = 0
        self.lost = 0

    def load(self, now: float) -> float:
        """Seconds of work it holds; a running job counts its estimate or its age, if longer."""
        work = self.work
        for job in self.running.values():
            late = now - job.begun_at - job.weight
            if late > 0.0:
                work += late
        return work


class JobRecord:
    """One job: from its submission until it is forgotten, or as long as it is hot."""

    __slots__ = (
        "attempt",
        "began",
        "begun_at",
        "blobs",
        "client",
        "ended",
        "failures",
        "group",
        "id",
        "kept",
        "key",
        "losses",
        "owed",
        "owner",
        "payload",
        "place",
        "resume",
        "retried",
        "retry_of",
        "seconds",
        "spec",
        "state",
        "story",
        "submitted",
        "taken",
        "weight",
        "why",
        "worker",
    )

    def __init__(
        self,
        identity: JobId,
        client: ClientRecord,
        owner: SessionId | None,
        spec: SpecRecord,
        payload: Payload,
        key: str | None,
        group: GroupRecord | None,
        place: int | None,
        submitted: float,
    ) -> None:
        self.id = identity
        self.client = client
        self.owner = owner
        """The session that its outcome goes to."""
        self.spec = spec
        self.payload = payload
        self.key = key
        self.group = group
        self.place = place
        self.submitted = submitted
        self.state = QUEUED
        self.attempt: Attempt | None = None
        """The current attempt, or the last."""
        self.worker: WorkerRecord | None = None
        """Who has the current attempt, or had the last one of an ended job; none while queued."""
        self.weight = 0.0
        """The estimate with which it was assigned."""
        self.losses = 0
        self.failures = 0
        """Attempts that failed or timed out and were followed by another one."""
        self.why: str | None = None
        """Why its end has been asked for: ``cancelled``, ``deadline``, or ``unbegun`` (cancelled
        if it comes back without having begun)."""
        self.resume: float | None = None
        """When its next attempt is due, by the wall clock, while it is delayed."""
        self.began: float | None = None
        self.begun_at = 0.0
        self.ended: float | None = None
        self.seconds = 0.0
        self.owed = 0
        """Connected sessions that it is on its way to."""
        self.taken = False
        """Whether somebody has its outcome."""
        self.blobs: tuple[BlobRef, ...] = ()
        """What its outcome refers to."""
        self.kept = 0
        """Bytes of its payload, outcome and log, once it has ended."""
        self.retried: JobId | None = None
        """What it was run again as."""
        self.retry_of: JobId | None = None
        """What it is another run of."""
        self.story: tuple[StoryEvent, ...] = ()

    def note(self, event: StoryEvent) -> None:
        """Add an event to the story, and drop the oldest of a long one."""
        self.story = (*self.story[-STORY_LENGTH + 1 :], event)
