"""All that the scheduler knows, and the effects that one event has gathered so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import chain
from math import ceil
from typing import TypeVar

from ..protocol.errors import AmpacityError, Refused
from ..protocol.ids import Attempt, ClientId, GroupId, JobId, SessionId, WorkerId
from ..protocol.jobs import BlobRef, unpack_spec
from ..protocol.ports import Ended, Holding
from .dues import Again, Deadlines, Due
from .effects import (
    Deliver,
    Effect,
    End,
    Hold,
    JobsChanged,
    JobsEnded,
    JobsForgotten,
    JobsTaken,
    Load,
    MoreToDo,
    Outcome,
    Refuse,
    Release,
    Retract,
    WorkerForgotten,
    Write,
)
from .events import Moment
from .kept import Found, Question
from .queues import Queues
from .records import (
    ClientRecord,
    CostRecord,
    GroupRecord,
    JobRecord,
    SessionRecord,
    SpecRecord,
    WorkerRecord,
)
from .runs import add_run
from .settings import Settings
from .stories import tell_story
from .transitions import ENDED, ILLEGAL, MOVE_NAMES, QUEUED, STATE_NAMES, TABLE
from .wheel import SLOTS_PER_SECOND, Wheel

SLICE = 200
"""Jobs that one event or one ``Continue`` looks at, of a list that may be long."""

SLICES = 4
"""Slices of long work in one event."""

AGAIN = 1.0
"""Seconds until the next try, where the store could not be read."""

COSTS = 10_000
"""Functions whose duration is remembered."""

Task = Generator[Question | SessionRecord | None, Found | None, None]
"""Long work. It yields None to let others have their turn, or a session, to go on when that has
taken something, or a question to the store, whose answer it is sent: None where the store cannot be
read. Cold jobs of an answer are hot until the task yields again."""


T = TypeVar("T")


class IllegalMove(AmpacityError):
    """A job cannot do that in its state: a mistake in the scheduler."""


class State:
    """The records, and what is to be done about them at the end of an event."""

    def __init__(self, settings: Settings, term: int, durable: bool = False) -> None:
        self.settings = settings
        self.term = term
        self.durable = durable
        """Whether there are cold jobs, see ``kept``."""
        self.at = Moment(0.0, 0.0)
        self.jobs: dict[JobId, JobRecord] = {}
        """The hot ones."""
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
        self.changed: dict[JobId, JobRecord] = {}
        self.taken: list[JobId] = []
        self.forgotten: list[JobId] = []
        self.gone: list[WorkerRecord] = []
        """Workers that will not come back, and hold nothing any more."""
        self.held: list[bytes] = []
        self.released: list[bytes] = []
        self.deliveries: dict[SessionRecord, list[JobId]] = {}
        self.ends: dict[WorkerRecord, list[Ended]] = {}
        self.retracts: dict[WorkerRecord, list[Holding]] = {}
        self.tasks: deque[Task] = deque()
        self.loading: dict[int, tuple[Task, Question]] = {}
        """Tasks that wait for the store, by number, in the order of their questions."""
        self.racing = False
        """Whether the store may have read, before this event, what it will answer after it."""
        self.dropped: set[JobId] = set()
        """Jobs that were let go of since then: what was read of them may be out of date."""
        self.visiting: dict[JobId, JobRecord] = {}
        """Cold jobs that are hot for this event, unless something keeps them."""
        self.cooling: list[JobRecord] = []
        """Jobs of which nothing may be left to be done."""
        self._deadlines: dict[int, Deadlines] = {}
        self._loads = 0
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
        if not (client.sessions or client.jobs or client.groups):
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

    # -- hot and cold -----------------------------------------------------------------------------

    def warm(self, job: JobRecord) -> None:
        """A job is in memory from now on."""
        spec = job.spec
        if not spec.jobs:
            self.specs[spec.packed] = spec
        spec.jobs += 1
        self.jobs[job.id] = job
        if job.key is not None:
            job.client.keys[job.key] = job.id

    def warm_all(self, spec: SpecRecord, jobs: list[JobRecord]) -> None:
        """Jobs of one spec are in memory from now on."""
        if not spec.jobs:
            self.specs[spec.packed] = spec
        spec.jobs += len(jobs)
        self.jobs.update((job.id, job) for job in jobs)
        for job in jobs:
            if job.key is not None:
                job.client.keys[job.key] = job.id

    def drop(self, job: JobRecord) -> None:
        """A job is not in memory any more."""
        spec = job.spec
        spec.jobs -= 1
        if not spec.jobs:
            del self.specs[spec.packed]
        del self.jobs[job.id]
        if self.racing:
            self.dropped.add(job.id)
        if job.key is not None and job.client.keys.get(job.key) == job.id:
            del job.client.keys[job.key]

    def cold(self, ids: Sequence[JobId]) -> list[JobId]:
        """What to ask the store for before these jobs are looked at: all of them if one is cold,
        since others may become so before the answer is here."""
        if not self.durable or all(map(self.jobs.__contains__, ids)):
            return []
        return list(ids)

    def cool(self) -> None:
        """Let go of the jobs of which nothing is left to be done."""
        if not self.durable:
            self.cooling.clear()
            return
        visiting, self.visiting = self.visiting, {}
        jobs = self.jobs
        for job in visiting.values():
            if job.id in jobs and (job.state == QUEUED or (job.state >= ENDED and not job.owed)):
                self.drop(job)
        for job in self.cooling:
            if job.id in jobs and not job.owed:
                self.drop(job)
        self.cooling = []

    # -- deadlines --------------------------------------------------------------------------------

    def fall_due(self, due: float, first: JobId, count: int) -> None:
        """Jobs have a deadline, by the monotonic clock."""
        slot = ceil(due * SLOTS_PER_SECOND)
        deadlines = self._deadlines.get(slot)
        if deadlines is None:
            deadlines = self._deadlines[slot] = Deadlines(slot)
            self.wheel.add(slot / SLOTS_PER_SECOND, deadlines)
        add_run(deadlines.runs, first, count)

    def fallen_due(self, deadlines: Deadlines) -> list[JobId]:
        """The jobs whose deadlines have come."""
        del self._deadlines[deadlines.slot]
        return [JobId(n) for first, count in deadlines.runs for n in range(first, first + count)]

    # -- changes ----------------------------------------------------------------------------------

    def move(self, job: JobRecord, move: int) -> None:
        """Change a job's state.

        Raises:
            IllegalMove: the table does not hold this; with the job's story.
        """
        self.move_all((job,), move)

    def move_all(self, jobs: Iterable[JobRecord], move: int) -> None:
        """Change the state of many jobs, as ``move`` does."""
        row, counts = TABLE[move], self.counts
        for job in jobs:
            old = job.state
            new = row[old]
            if new == ILLEGAL:
                raise IllegalMove(f"{MOVE_NAMES[move]} is not possible: {tell_story(job)}")
            job.state = new
            counts[old] -= 1
            counts[new] += 1
            if job.group is not None:
                job.group.counts[old] -= 1
                job.group.counts[new] += 1

    def leave_queue(self, job: JobRecord) -> None:
        """A job that waits has ended. The tail of a queue keeps its id until that is met."""
        if job.id not in self.visiting:
            self.queues.discard(job)

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

    def run(self, task: Task) -> None:
        """Do long work: its first slice now if there is time, one more at each ``Continue``."""
        if self._slices <= 0:
            self.tasks.append(task)
            return
        self._slices -= 1
        self.go_on(task, None)

    def go_on(self, task: Task, found: Found | None) -> None:
        """One slice of a task."""
        try:
            question = task.send(found)
        except StopIteration:
            return
        if question is None:
            self.tasks.append(task)
            return
        if isinstance(question, SessionRecord):
            question.parked = task
            return
        self.load(task, question)

    def load(self, task: Task, question: Question) -> None:
        """A task goes on when the store has answered."""
        self._loads += 1
        self.loading[self._loads] = task, question
        self.tells.append(Load(self._loads, question))

    def do_again(self, work: Callable[[], None]) -> None:
        """The store could not be read: try once more in a while."""
        self.wheel.add(self.at.now + AGAIN, Again(work))

    def unreadable(self, ask: int) -> None:
        """Say that what was asked for cannot be done, since the store could not be read."""
        text = "jobs cannot be looked up in the store; the coordinator's log says more"
        self.tells.append(Refuse(ask, Refused(text)))

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
        if self.changed:
            self.writes.append(JobsChanged(list(self.changed.values())))
            self.changed = {}
        if self.taken:
            self.writes.append(JobsTaken(self.taken))
            self.taken = []
        if self.forgotten:
            self.writes.append(JobsForgotten(self.forgotten))
            self.forgotten = []
        if self.gone:
            self.writes.extend(WorkerForgotten(worker) for worker in self.gone)
            self.gone = []
        if self.held:
            self.writes.append(Hold(self.held))
            self.held = []
        if self.released:
            self.writes.append(Release(self.released))
            self.released = []

    def take_effects(self) -> list[Effect]:
        """The effects of the event: writes, then what is told."""
        tells = self.tells
        tells.extend(End(worker, ends) for worker, ends in self.ends.items())
        tells.extend(Retract(worker, holdings) for worker, holdings in self.retracts.items())
        tells.extend(
            Deliver(session, jobs, session.openings)
            for session, jobs in self.deliveries.items()
            if session.connected
        )
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


def sliced(things: Sequence[T], size: int | None = None) -> Iterable[Sequence[T]]:
    """Ids, or records, in portions that one slice of a task looks at: ``SLICE``, or as said."""
    size = size or SLICE
    return (things[start : start + size] for start in range(0, len(things), size))
