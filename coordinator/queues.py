"""Where jobs wait: first in, first out within a client, fair turns between clients.

Each client has one queue a requirement (the Python that a function by value needs, or None). A
``Turns`` goes round the clients that have something for the workers of one Python, and takes one
job a turn; so a client that submits two jobs does not wait behind another's million.

The head of a queue is hot: records. Its tail may be cold: ids, which are turned into records when
the head grows short.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from math import ceil, inf

from ..protocol.ids import ClientId, JobId
from .records import ClientRecord, JobRecord
from .transitions import QUEUED

BLOCK = 1024
"""Jobs in one block of a queue."""

SWEEP_EVERY = 64
"""Jobs that end while they wait, for each block that is swept."""

HOT = 1024
"""Jobs in the head of a queue, beyond which new ones go to its tail."""

WARM = 32_768
"""Jobs in the heads of all queues, up to which small ones stay hot behind a head of ``HOT``."""

SMALL = 512
"""Bytes of a small job's payload and key."""

SHORT = 512
"""Jobs in the head, below which it gets some from its tail."""

PAGE = 512
"""Jobs that it gets at once."""

LONG = 2
"""Where the last ones were small: so many times as many in the head."""
FLOOR = 25e-6
"""Seconds that any job is taken to need, where it is given beyond the slots."""

PASSES = 256
"""How often a client's turn is passed over because its next job is of unknown duration, and there
is no free slot. Then nobody gets anything beyond the slots until it has had one."""


class JobQueue:
    """Jobs in order, in blocks. One that ended while it waited stays until it is met or swept."""

    __slots__ = ("blocks", "cursor", "long", "size", "stale", "tail", "warming")

    def __init__(self) -> None:
        self.blocks: deque[deque[JobRecord]] = deque()
        self.size = 0
        """Jobs in its head that still wait."""
        self.stale = 0
        self.cursor = 0
        self.tail: deque[list[int]] = deque()
        """Ids of cold jobs as ``[first, count]``, ascending; some may have ended."""
        self.warming = False
        """Whether some of them are being read."""
        self.long = 1
        """How many times ``SHORT`` its head should have."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits here, and nothing is about to."""
        return not (self.size or self.tail or self.warming)

    @property
    def thirsty(self) -> bool:
        """Whether the head needs some of the tail."""
        return bool(self.tail) and not self.warming and self.size < SHORT * self.long

    def extend_tail(self, first: JobId, count: int) -> None:
        """Put cold jobs at the end."""
        tail = self.tail
        if tail and tail[-1][0] + tail[-1][1] == first:
            tail[-1][1] += count
        else:
            tail.append([first, count])

    def cut_tail(self) -> list[JobId]:
        """Take the first page of the tail."""
        ids: list[JobId] = []
        tail = self.tail
        while tail and len(ids) < PAGE:
            run = tail[0]
            count = min(run[1], PAGE - len(ids))
            ids.extend(JobId(number) for number in range(run[0], run[0] + count))
            run[0] += count
            run[1] -= count
            if not run[1]:
                tail.popleft()
        return ids

    def mend_tail(self, ids: list[JobId]) -> None:
        """Give a page back that could not be read."""
        for number in reversed(ids):
            tail = self.tail
            if tail and tail[0][0] == number + 1:
                tail[0][0] -= 1
                tail[0][1] += 1
            else:
                tail.appendleft([number, 1])

    def append(self, job: JobRecord) -> None:
        """Put a job at the end."""
        self.extend([job])

    def extend(self, jobs: list[JobRecord]) -> None:
        """Put jobs at the end; a frame of them makes a block no longer than it makes a frame."""
        blocks = self.blocks
        if not blocks or len(blocks[-1]) >= BLOCK:
            blocks.append(deque())
        blocks[-1].extend(jobs)
        self.size += len(jobs)

    def push_front(self, job: JobRecord) -> None:
        """Put a job that had its turn once before all others."""
        if not self.blocks:
            self.blocks.append(deque())
        self.blocks[0].appendleft(job)
        self.size += 1

    def head(self) -> JobRecord | None:
        """The first job that waits."""
        blocks = self.blocks
        while blocks:
            block = blocks[0]
            while block:
                job = block[0]
                if job.state == QUEUED:
                    return job
                block.popleft()
                self.stale -= 1
            blocks.popleft()
        return None

    def pop(self) -> None:
        """Take the job that ``head`` has shown."""
        self.blocks[0].popleft()
        self.size -= 1

    def take(
        self, count: int, room: float | None, whole: bool
    ) -> tuple[list[JobRecord], float | None]:
        """As ``Queues.take_some``, of this queue."""
        jobs: list[JobRecord] = []
        blocks = self.blocks
        while blocks and len(jobs) < count:
            block = blocks[0]
            if not block:
                blocks.popleft()
                continue
            job, most = block[0], count - len(jobs)
            if job.state != QUEUED:
                self.stale -= 1
                block.popleft()
                continue
            if room is None:
                jobs += _take_alike(block, most)
                continue
            seconds = job.spec.cost.seconds
            if seconds is None or room <= 0.0 or (whole and seconds > room):
                break
            step = seconds if whole or seconds > FLOOR else FLOOR
            if step > 0.0:
                fit = room / step
                most = min(most, max(1, int(fit) if whole else ceil(fit)))
            alike = _take_alike(block, most)
            room -= step * len(alike)
            jobs += alike
        self.size -= len(jobs)
        return jobs, room

    def discard(self) -> None:
        """One of the jobs has ended while it waited. Its place is freed in the long run."""
        self.size -= 1
        self.stale += 1
        if self.stale > self.size and self.stale % SWEEP_EVERY == 0:
            self._sweep()

    def _sweep(self) -> None:
        if self.cursor >= len(self.blocks):
            self.cursor = 0
        block = self.blocks[self.cursor]
        waiting = [job for job in block if job.state == QUEUED]
        self.stale -= len(block) - len(waiting)
        if waiting:
            self.blocks[self.cursor] = deque(waiting)
            self.cursor += 1
        else:
            del self.blocks[self.cursor]


def _take_alike(block: deque[JobRecord], most: int) -> list[JobRecord]:
    """The first job of a block, and those behind it that wait and are of its spec."""
    spec, alike = block[0].spec, list[JobRecord]()
    for job in islice(block, most):
        if job.spec is not spec or job.state != QUEUED:
            break
        alike.append(job)
    for _ in alike:
        block.popleft()
    return alike


class Turns:
    """The clients that have jobs for workers of one Python, each at its turn."""

    __slots__ = ("clients", "listed", "python")

    def __init__(self, python: str) -> None:
        self.python = python
        self.clients: deque[ClientRecord] = deque()
        self.listed: set[ClientRecord] = set()

    def enlist(self, client: ClientRecord) -> None:
        """A client has jobs that may fit; it takes its turn after the others."""
        if client not in self.listed:
            self.listed.add(client)
            self.clients.append(client)

    def peek(self) -> JobRecord | None:
        """The next job."""
        for client in self.clients:
            _, job = self._first(client)
            if job is not None:
                return job
        return None

    def take(self, longest: float | None) -> JobRecord | None:
        """The next job; with ``longest``, one that takes so many seconds at most, by estimate."""
        clients = self.clients
        for _ in range(len(clients)):
            client = clients[0]
            queue, job = self._first(client)
            if queue is None or job is None:
                clients.popleft()
                self.listed.discard(client)
                continue
            seconds = job.spec.cost.seconds
            if longest is not None and (seconds is None or seconds > longest):
                client.passed += 1
                if client.passed > PASSES:
                    return None
                clients.rotate(-1)
                continue
            clients.rotate(-1)
            client.passed = 0
            queue.pop()
            return job
        return None

    def only_queue(self) -> tuple[ClientRecord, str | None] | None:
        """The client, and the requirement, of whom alone there are jobs; None where several are
        listed, or one's two queues have some."""
        if len(self.clients) != 1:
            return None
        client = self.clients[0]
        anywhere, bound = client.queues.get(None), client.queues.get(self.python)
        if bound is None or not bound.size:
            return (client, None) if anywhere is not None and anywhere.size else None
        return None if anywhere is not None and anywhere.size else (client, self.python)

    def _first(self, client: ClientRecord) -> tuple[JobQueue | None, JobRecord | None]:
        """A client's oldest job that fits, of the two queues that it may stand in."""
        anywhere = client.queues.get(None)
        job = anywhere.head() if anywhere is not None else None
        bound = client.queues.get(self.python)
        other = bound.head() if bound is not None else None
        if other is None or (job is not None and job.id < other.id):
            return anywhere, job
        return bound, other


class Queues:
    """Every waiting job."""

    __slots__ = ("sizes", "thirsty", "turns")

    def __init__(self) -> None:
        self.turns: dict[str, Turns] = {}
        self.sizes: dict[str | None, int] = {None: 0}
        """Waiting jobs that are hot, by the Python that they need."""
        self.thirsty: list[tuple[ClientRecord, str | None]] = []
        """Queues whose head has grown short."""

    def turns_for(self, python: str, clients: dict[ClientId, ClientRecord]) -> Turns:
        """The turns for workers of a Python, made when the first one joins."""
        turns = self.turns.get(python)
        if turns is None:
            turns = self.turns[python] = Turns(python)
            for client in clients.values():
                turns.enlist(client)
        return turns

    def waiting(self, python: str) -> int:
        """How many jobs wait that a worker of this Python can take."""
        return self.sizes[None] + self.sizes.get(python, 0)

    def queue(self, client: ClientRecord, python: str | None) -> JobQueue:
        """A client's queue for a requirement, to append to; ``added`` must follow."""
        queue = client.queues.get(python)
        if queue is None:
            queue = client.queues[python] = JobQueue()
        return queue

    def full(self, queue: JobQueue, jobs: list[JobRecord]) -> bool:
        """Whether new jobs go to the tail of their queue."""
        if queue.tail or queue.warming:
            return True
        if queue.size < HOT:
            return False
        return sum(self.sizes.values()) + len(jobs) > WARM or not are_small(jobs)

    def added(self, client: ClientRecord, python: str | None, count: int) -> None:
        """A client's queue has grown."""
        self.sizes[python] = self.sizes.get(python, 0) + count
        if python is None:
            for turns in self.turns.values():
                turns.enlist(client)
        elif python in self.turns:
            self.turns[python].enlist(client)

    def put_back(self, job: JobRecord) -> None:
        """A job that was assigned waits again, before the others of its client."""
        python = job.spec.spec.python
        self.queue(job.client, python).push_front(job)
        self.added(job.client, python, 1)

    def take(self, turns: Turns, longest: float | None = None) -> JobRecord | None:
        """The next job for a worker of that Python, see ``Turns.take``."""
        job = turns.take(longest)
        if job is not None:
            python = job.spec.spec.python
            self._shrunk(python)
            self._look(job.client, python)
        return job

    def take_some(
        self, turns: Turns, count: int, room: float | None = None, whole: bool = False
    ) -> tuple[list[JobRecord], float | None]:
        """Up to so many jobs for a worker of that Python, each client's in its turn; with ``room``,
        seconds, jobs of known duration until it is used up; the last of them may take longer than
        what is left of it then, but not with ``whole``. And what is left of the room."""
        jobs: list[JobRecord] = []
        if (only := turns.only_queue()) is not None:
            client, python = only
            jobs, room = client.queues[python].take(count, room, whole)
            if jobs:
                client.passed = 0
                self._shrunk(python, len(jobs))
                self._look(client, python)
        while len(jobs) < count and (room is None or room > 0.0):
            job = self.take(turns, room if whole or room is None else inf)
            if job is None:
                break
            jobs.append(job)
            if room is not None:
                seconds = job.spec.cost.seconds or 0.0
                room -= seconds if whole or seconds > FLOOR else FLOOR
        return jobs, room

    def discard(self, job: JobRecord) -> None:
        """A waiting job has ended."""
        python = job.spec.spec.python
        self._shrunk(python)
        job.client.queues[python].discard()
        self._look(job.client, python)

    def _shrunk(self, python: str | None, jobs: int = 1) -> None:
        left = self.sizes[python] - jobs
        if left or python is None:
            self.sizes[python] = left
        else:
            del self.sizes[python]

    def _look(self, client: ClientRecord, python: str | None) -> None:
        if client.queues[python].thirsty:
            self.thirsty.append((client, python))


def are_small(jobs: list[JobRecord]) -> bool:
    """Whether these need little memory, on the average; of a spec its share, as far as it is
    known how many have it."""
    count = len(jobs)
    size = sum([len(job.payload) for job in jobs])
    size += sum([len(job.spec.packed) // max(count, job.spec.jobs) for job in jobs])
    size += sum([len(job.key) for job in jobs if job.key is not None])
    return size <= SMALL * count
