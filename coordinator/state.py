"""All that the scheduler knows, and the effects that one event has gathered so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from ..protocol.errors import AmpacityError
from ..protocol.ids import Attempt, ClientId, GroupId, JobId, SessionId, WorkerId
from ..protocol.jobs import BlobRef, unpack_spec
from ..protocol.ports import Ended, Holding
from .effects import (
    Deliver,
    Effect,
    End,
    Hold,
    JobsEnded,
    JobsForgotten,
    JobsRequeued,
    MoreToDo,
    Outcome,
    Release,
    Retract,
    Write,
)
from .events import Moment
from .queues import Queues
from .records import (
    ClientRecord,
    CostRecord,
    GroupRecord,
    JobRecord,
    SessionRecord,
    SpecRecord,
    WorkerRecord,
    tell_story,
)
from .settings import Settings
from .transitions import ILLEGAL, MOVE_NAMES, STATE_NAMES, TABLE
from .wheel import Wheel

SLICE = 200
"""Jobs that one event or one ``Continue`` looks at, of a list that may be long."""

SLICES = 4
"""Slices of long work in one event."""

COSTS = 10_000
"""Functions whose duration is remembered."""


class IllegalMove(AmpacityError):
    """A job cannot do that in its state: a mistake in the scheduler."""


class Recall(NamedTuple):
    """A worker that came back without some of its attempts: when to give those up."""

    worker: WorkerRecord


Due = JobId | SessionRecord | WorkerRecord | Recall


class State:
    """The records, and what is to be done about them at the end of an event."""

    def __init__(self, settings: Settings, term: int) -> None:
        self.settings = settings
        self.term = term
        self.at = Moment(0.0, 0.0)
        self.jobs: dict[JobId, JobRecord] = {}
        self.groups: dict[GroupId, GroupRecord] = {}
        self.clients: dict[ClientId, ClientRecord] = {}
        self.sessions: dict[SessionId, SessionRecord] = {}
        self.workers: dict[WorkerId, WorkerRecord] = {}
        self.incarnations: dict[bytes, WorkerRecord] = {}
        self.specs: dict[bytes, SpecRecord] = {}
        self.queues = Queues()
        self.wheel: Wheel[Due] = Wheel()
        self.next_job = 1
        self.next_group = 1
        self.counts = [0] * len(STATE_NAMES)
        """Known jobs by state."""
        self.totals = [0] * len(STATE_NAMES)
        """Jobs that have ended since the start, by state."""
        self.submitted = 0
        self.pending_bytes = 0
        """Bytes of the payloads of unfinished jobs."""
        self.writes: list[Write] = []
        self.tells: list[Effect] = []
        self.ended: list[Outcome] = []
        self.requeued: list[JobRecord] = []
        self.forgotten: list[JobId] = []
        self.held: list[bytes] = []
        self.released: list[bytes] = []
        self.deliveries: dict[SessionRecord, list[JobId]] = {}
        self.ends: dict[WorkerRecord, list[Ended]] = {}
        self.retracts: dict[WorkerRecord, list[Holding]] = {}
        self.tasks: deque[Iterator[None]] = deque()
        self._announced = False
        self._slices = SLICES
        self._costs: dict[object, CostRecord] = {}
        self._attempts: list[Attempt] = []

    # -- records ----------------------------------------------------------------------------------

    def client(self, identity: ClientId) -> ClientRecord:
        """A client's record, made when it is first heard of."""
        client = self.clients.get(identity)
        if client is None:
            client = self.clients[identity] = ClientRecord(identity)
        return client

    def drop_client(self, client: ClientRecord) -> None:
        """Forget a client of whom nothing is left."""
        if not (client.sessions or client.runs or client.groups):
            self.clients.pop(client.id, None)

    def spec(self, packed: bytes) -> SpecRecord:
        """The record of a spec; equal bytes have one.

        Raises:
            Malformed: the bytes are no spec.
        """
        record = self.specs.get(packed)
        if record is None:
            spec = unpack_spec(packed)
            cost = self._cost((spec.kind, spec.target, spec.function))
            record = SpecRecord(packed, spec, cost)
        return record

    def use_spec(self, record: SpecRecord, jobs: int) -> None:
        """That many new jobs use a spec."""
        if not record.jobs:
            self.specs[record.packed] = record
            self.hold(record.blobs)
        record.jobs += jobs

    def leave_spec(self, record: SpecRecord) -> None:
        """A job that used a spec is forgotten."""
        record.jobs -= 1
        if not record.jobs:
            del self.specs[record.packed]
            self.release(record.blobs)

    def _cost(self, function: object) -> CostRecord:
        cost = self._costs.pop(function, None) or CostRecord()
        self._costs[function] = cost
        if len(self._costs) > COSTS:
            del self._costs[next(iter(self._costs))]
        return cost

    def attempt(self, number: int) -> Attempt:
        """An attempt of this term; equal ones are one object."""
        attempts = self._attempts
        while len(attempts) <= number:
            attempts.append(Attempt(self.term, len(attempts)))
        return attempts[number]

    # -- changes ----------------------------------------------------------------------------------

    def move(self, job: JobRecord, move: int) -> None:
        """Change a job's state.

        Raises:
            IllegalMove: the table does not hold this; with the job's story.
        """
        old = job.state
        new = TABLE[move][old]
        if new == ILLEGAL:
            raise IllegalMove(f"{MOVE_NAMES[move]} is not possible: {tell_story(job)}")
        job.state = new
        counts = self.counts
        counts[old] -= 1
        counts[new] += 1
        if job.group is not None:
            counts = job.group.counts
            counts[old] -= 1
            counts[new] += 1

    def hold(self, blobs: tuple[BlobRef, ...]) -> None:
        """Something refers to these blobs."""
        self.held.extend(blob.digest for blob in blobs)

    def release(self, blobs: tuple[BlobRef, ...]) -> None:
        """Something that referred to these blobs is gone."""
        self.released.extend(blob.digest for blob in blobs)

    def tell_end(self, job: JobRecord, why: str) -> None:
        """Have the worker end a job's attempt, now or when it comes back."""
        worker = job.worker
        if worker is not None and not worker.away and job.attempt is not None:
            self.ends.setdefault(worker, []).append(Ended(job.id, job.attempt, why))

    def tell_retract(self, job: JobRecord) -> None:
        """Ask the worker for a job that has not begun."""
        worker = job.worker
        if worker is not None and not worker.away and job.attempt is not None:
            worker.retracting.add(job.id)
            self.retracts.setdefault(worker, []).append(Holding(job.id, job.attempt))

    # -- long work --------------------------------------------------------------------------------

    def run(self, task: Iterator[None]) -> None:
        """Do long work: its first slice now if there is time, one more at each ``Continue``."""
        if self._slices <= 0:
            self.tasks.append(task)
            return
        self._slices -= 1
        if next(task, task) is not task:
            self.tasks.append(task)

    def proceed(self) -> None:
        """Some slices of the work that is not finished."""
        self._announced = False
        for _ in range(min(len(self.tasks), SLICES)):
            self.run(self.tasks.popleft())

    # -- effects ----------------------------------------------------------------------------------

    def flush_writes(self) -> None:
        """Turn what was gathered into writes, before new attempts are made."""
        if self.ended:
            self.writes.append(JobsEnded(self.ended))
            self.ended = []
        if self.requeued:
            self.writes.append(JobsRequeued(self.requeued))
            self.requeued = []
        if self.forgotten:
            self.writes.append(JobsForgotten(self.forgotten))
            self.forgotten = []

    def take_effects(self) -> list[Effect]:
        """The effects of the event: writes, then what is told."""
        tells = self.tells
        tells.extend(End(worker, ends) for worker, ends in self.ends.items())
        tells.extend(Retract(worker, holdings) for worker, holdings in self.retracts.items())
        tells.extend(
            Deliver(session, jobs) for session, jobs in self.deliveries.items() if session.connected
        )
        if self.held:
            tells.append(Hold(self.held))
        if self.released:
            tells.append(Release(self.released))
        if self.tasks and not self._announced:
            self._announced = True
            tells.append(MoreToDo())
        effects = list(chain(self.writes, tells))
        self._clear()
        return effects

    def _clear(self) -> None:
        self.writes, self.tells = [], []
        self._slices = SLICES
        for gathered in (self.ends, self.retracts, self.deliveries):
            if gathered:
                gathered.clear()
        if self.held:
            self.held = []
        if self.released:
            self.released = []
