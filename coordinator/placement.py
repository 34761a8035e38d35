"""Which worker gets the next jobs, and which gives some back.

A worker may hold one job a slot in any case, and beyond that as much work, by estimate, as keeps
its slots busy for ``CREDIT`` seconds: enough to hide the way back and forth, too little for a job
to wait long behind others. A function that has never ended is not given beyond the slots. Workers
with free slots come first, each with its share of what waits; then those with credit. A share of
short jobs is not too small: what a worker gets at once comes in one frame, and the way of a frame
takes longer than such a job. When slots are free, nothing waits and another worker has jobs behind
its slots, some of those are taken back.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nlargest
from itertools import islice
from math import ceil, sqrt
from operator import itemgetter

from ..protocol.columns import named
from ..protocol.ids import Attempt, ClientId, JobId
from ..protocol.jobs import Assignment, Payload
from .effects import Assign, AttemptsMade
from .queues import FLOOR, Turns
from .records import JobRecord, WorkerRecord
from .state import State
from .transitions import ASSIGN, SENT

CREDIT = 0.020
"""Seconds of estimated work a slot."""

CREDIT_JOBS = 1024
"""Jobs a slot, however short they are."""

HELD_JOBS = 32_768
"""Jobs of one worker, unless it has more slots: it says itself how many it has."""

PORTION = 0.002
"""Seconds of work that a worker is given at most while others with room are given nothing."""

WAY = 0.0002
"""Seconds that a frame to one worker more is worth, all that it causes on its way included. Where
work is shared out in frames, the last of it is done soonest with frames of the root of both."""

LEAST = 10e-6
"""Seconds that any job of a portion is taken to need."""

SMOOTHING = 0.2
"""How much the newest duration changes the estimate."""

REFILL_JOBS = 4
"""A worker with this many jobs a slot gets more only when half of its credit is used up, so that
frames stay large while jobs are short."""

PLACE_AT_ONCE = 1024
"""Jobs given out in one event; the rest follows in the next ones."""

FEW = 32
"""Workers with credit that are put in order, the one with the least work first."""

BALANCE, BALANCE_EACH = 0.002, 20e-6
"""Seconds between looks at workers that hold much while others are idle, and for each of those."""

CALM = 0.010
"""Seconds between them after some that have found nothing."""

LOOKED_AT = 64
"""Of one worker, and two for each that is wanted, looked at when some are taken back."""

WORTHWHILE = 0.002
"""Seconds of work a slot, below which nothing is taken back."""

VICTIMS = 16
"""Workers from which jobs are taken back at one look."""


_FIRST = itemgetter(0)


class Lane:
    """The connected workers whose children have one Python."""

    __slots__ = ("credit", "free", "known", "laden", "python", "turns", "workers")

    def __init__(self, python: str, turns: Turns) -> None:
        self.python = python
        self.turns = turns
        self.known = 0
        """Workers of it, those that are away as well."""
        self.workers = 0
        """Connected ones."""
        self.free: dict[WorkerRecord, None] = {}
        """Those with a free slot; the one that has waited longest first."""
        self.credit: dict[WorkerRecord, None] = {}
        """Those with all slots taken, who may have credit for more."""
        self.laden: dict[WorkerRecord, None] = {}
        """Those with more jobs than slots."""


class Placement:
    """The workers' room, and how waiting jobs fill it."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.lanes: dict[str, Lane] = {}
        self.more = False
        """Whether the last event has left jobs and room for another one."""
        self._balanced = 0.0
        self._rest = BALANCE
        self._left = 0

    def lane(self, python: str) -> Lane:
        """The lane of a Python."""
        lane = self.lanes.get(python)
        if lane is None:
            turns = self._state.queues.turns_for(python, self._state.clients)
            lane = self.lanes[python] = Lane(python, turns)
        return lane

    def leave(self, lane: Lane) -> None:
        """One of a lane's workers is not known any more; nor is the lane, after the last one."""
        lane.known -= 1
        if not lane.known:
            del self.lanes[lane.python]
            del self._state.queues.turns[lane.python]

    def room(self, worker: WorkerRecord) -> None:
        """What a worker holds has changed: file it by the room that it has."""
        lane, held, slots = worker.lane, len(worker.held), worker.info.slots
        takes = slots > 0 and not worker.away
        if held < slots and takes:
            lane.free[worker] = None
            lane.credit.pop(worker, None)
        else:
            lane.free.pop(worker, None)
            if takes:
                lane.credit[worker] = None
            else:
                lane.credit.pop(worker, None)
        if held > slots and takes:
            lane.laden[worker] = None
        else:
            lane.laden.pop(worker, None)

    # -- giving -----------------------------------------------------------------------------------

    def place(self) -> None:
        """Give waiting jobs to workers with room, a bounded number of them."""
        self._left = PLACE_AT_ONCE
        self.more = False
        for lane in self.lanes.values():
            if lane.free:
                self._fill_slots(lane)
        for lane in self.lanes.values():
            if lane.credit and self._state.queues.waiting(lane.python):
                self._fill_credit(lane)

    def _fill_slots(self, lane: Lane) -> None:
        """Fill free slots, each worker in its turn with its share."""
        free, queues = lane.free, self._state.queues
        turns, whole = 0, queues.waiting(lane.python)
        while free and queues.waiting(lane.python):
            if self._left <= 0:
                self.more = True
                return
            worker = next(iter(free))
            turns = turns or len(free)
            share, portion = self._share(lane, turns, whole)
            turns -= 1
            del free[worker]
            slots = worker.info.slots - len(worker.held)
            jobs, _ = queues.take_some(lane.turns, min(slots, share, self._left))
            self._give(worker, jobs)
            if share > len(jobs) == slots and self._left > 0:
                self._give_on_credit(lane, worker, share - slots, portion)

    def _fill_credit(self, lane: Lane) -> None:
        """Share what waits among the workers with credit; those without leave until they have."""
        queues = self._state.queues
        workers, whole = list(lane.credit), queues.waiting(lane.python)
        if 1 < len(workers) <= FEW:
            now = self._state.at.now
            workers.sort(key=lambda worker: worker.load(now) / worker.info.slots)
        for place, worker in enumerate(workers):
            if not queues.waiting(lane.python):
                return
            if self._left <= 0:
                self.more = True
                return
            share, portion = self._share(lane, lane.workers - place, whole)
            if not self._give_on_credit(lane, worker, share, portion):
                return

    def _share(self, lane: Lane, workers: int, whole: int) -> tuple[int, float | None]:
        """How many of the jobs that wait go to one of so many workers: an even part, or more, where
        the next job is short; then only as many as take so many seconds. In the ``whole``, so many
        have waited before the first worker had its share."""
        waiting = self._state.queues.waiting(lane.python)
        even = ceil(waiting / workers)
        job = lane.turns.peek() if even < waiting else None
        if job is None or job.spec.cost.seconds is None:
            return even, None
        seconds = max(job.spec.cost.seconds, LEAST)
        portion = min(PORTION, sqrt(whole * seconds * WAY))
        if seconds > portion:
            return even, None
        frames = ceil(waiting / int(portion / seconds))
        return (even, None) if frames >= workers else (ceil(waiting / frames), portion)

    def _give_on_credit(
        self, lane: Lane, worker: WorkerRecord, share: int, portion: float | None
    ) -> bool:
        """Give a worker whose slots are taken what it has credit for; whether anything that waits
        is short enough to be given so."""
        lane.credit.pop(worker, None)
        room = self._room_beyond(worker)
        if room <= 0.0:
            return True
        spare = most_held(worker.info.slots) - len(worker.held)
        count = min(share, spare, self._left)
        limit = room if portion is None else min(room, portion)
        jobs, left = self._state.queues.take_some(lane.turns, count, limit, portion is not None)
        lane.credit[worker] = None  # behind the others
        if not jobs:
            return False
        self._give(worker, jobs)
        if portion is None and left is not None and left <= 0.0:
            lane.credit.pop(worker, None)
        return True

    def _room_beyond(self, worker: WorkerRecord) -> float:
        """Seconds of work for which a worker has credit; 0 where more is not due yet."""
        slots, held = worker.info.slots, len(worker.held)
        if held >= most_held(slots):
            return 0.0
        credit = slots * CREDIT
        room = credit - worker.load(self._state.at.now)
        if held >= REFILL_JOBS * slots and room < credit / 2:
            return 0.0
        return room

    def _give(self, worker: WorkerRecord, jobs: list[JobRecord]) -> None:
        """Make attempts of these jobs."""
        if jobs:
            state = self._state
            self._left -= len(jobs)
            state.move_all(jobs, ASSIGN)
            state.writes.append(AttemptsMade(worker, jobs))
            state.tells.append(Assign(worker, named(Assignment, self._attempts(worker, jobs))))
        self.room(worker)

    def _attempts(
        self, worker: WorkerRecord, jobs: list[JobRecord]
    ) -> Iterator[tuple[JobId, Attempt, bytes, Payload, ClientId]]:
        """The fields of their assignments, while the worker comes to hold them."""
        first, event = self._state.attempt(1), (self._state.at.wall, "sent", worker.name)
        first_story = (event,)
        held, work = worker.held, 0.0
        for job in jobs:
            last, spec = job.attempt, job.spec
            attempt = first if last is None else self._state.attempt(last.number + 1)
            job.attempt, job.worker = attempt, worker
            job.weight = weight = max(spec.cost.seconds or 0.0, FLOOR)
            work += weight
            held[job.id] = job
            if job.story:
                job.note(event)
            else:
                job.story = first_story
            yield job.id, attempt, spec.packed, job.payload, job.client.id
        worker.work += work

    # -- taking back ------------------------------------------------------------------------------

    def uneven(self) -> float | None:
        """When to look whether something is to be taken back; None where all is well."""
        laden = sum([len(lane.laden) for lane in self.lanes.values()])
        if not laden:
            return None
        waiting = self._state.queues.waiting
        if any(lane.free and not waiting(lane.python) for lane in self.lanes.values()):
            return self._balanced + self._rest + BALANCE_EACH * laden
        return None

    def balance(self) -> None:
        """Take back jobs that wait behind others while slots are free."""
        due, now = self.uneven(), self._state.at.now
        if due is None or due > now:
            return
        self._balanced = now
        taken = 0
        for lane in self.lanes.values():
            if lane.free and not self._state.queues.waiting(lane.python):
                taken += self._relieve(lane)
        self._rest = BALANCE if taken else min(2 * self._rest, CALM)

    def _relieve(self, lane: Lane) -> int:
        """Take back for the free workers of a lane from those with the most work a slot; how many
        jobs."""
        now = self._state.at.now
        loads = [
            (load, worker)
            for other in self.lanes.values()
            for worker in other.laden
            if (load := expected(worker, now) / worker.info.slots) >= WORTHWHILE
        ]
        taken, spare = 0, sum(worker.info.slots - len(worker.held) for worker in lane.free)
        for _, victim in nlargest(VICTIMS, loads, key=_FIRST):
            slots = victim.info.slots
            surplus = len(victim.held) - slots
            left = spare - taken
            count = ceil(surplus * left / (left + slots)) - len(victim.retracting)
            jobs = self._last_unbegun(victim, lane.python, count)
            for job in jobs:
                self._state.tell_retract(job)
            taken += len(jobs)
            if taken >= spare:
                break
        return taken

    @staticmethod
    def _last_unbegun(worker: WorkerRecord, python: str, count: int) -> list[JobRecord]:
        jobs: list[JobRecord] = []
        # a bound, since all that it holds may be for another Python
        for job in islice(reversed(worker.held.values()), 2 * max(count, 0) + LOOKED_AT):
            if len(jobs) >= count:
                break
            fits = job.spec.spec.python in (None, python)
            if job.state == SENT and fits and job.id not in worker.retracting:
                jobs.append(job)
        return jobs


def most_held(slots: int) -> int:
    """How many jobs a worker may hold that says that it has so many slots."""
    return min(slots * CREDIT_JOBS, max(slots, HELD_JOBS))


def expected(worker: WorkerRecord, now: float) -> float:
    """Seconds of work that a worker holds, as is known by now: those that it was given together are
    of one kind, more often than not, and take as long as the last of them would."""
    load = worker.load(now)
    last = next(reversed(worker.held.values()), None)
    if last is not None and last.spec.cost.seconds is not None:
        load += max(0.0, last.spec.cost.seconds - last.weight) * len(worker.held)
    return load


def learn(job: JobRecord, seconds: float) -> None:
    """An attempt took this long: correct the estimate for its function."""
    cost = job.spec.cost
    if cost.seconds is None:
        cost.seconds = seconds
    else:
        cost.seconds += (seconds - cost.seconds) * SMOOTHING


def learn_from_waiting(worker: WorkerRecord, now: float) -> None:
    """Jobs come back that have waited in a worker: what runs there takes longer than was thought,
    and those that come back must not be given together once more if they are of its kind. No more
    than that follows from one that is long: they may be given on credit."""
    for job in worker.running.values():
        cost, age = job.spec.cost, min(now - job.begun_at, PORTION)
        if cost.seconds is not None and cost.seconds < age:
            cost.seconds = age
