"""Which worker gets the next jobs, and which gives some back.

A worker may hold one job a slot in any case, and beyond that as much work, by estimate, as keeps
its slots busy for ``CREDIT`` seconds: enough to hide the way back and forth, too little for a job
to wait long behind others. A function that has never ended is not given beyond the slots. Workers
with free slots come first, each with its share of what waits; then those with credit. When slots
are free, nothing waits and another worker has jobs behind its slots, some of those are taken back.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from ..protocol.columns import named
from ..protocol.ids import Attempt, ClientId, JobId
from ..protocol.jobs import Assignment, Payload
from .effects import Assign, AttemptsMade
from .queues import Turns
from .records import JobRecord, WorkerRecord
from .state import State
from .transitions import ASSIGN, SENT

CREDIT = 0.020
"""Seconds of estimated work a slot."""

CREDIT_JOBS = 512
"""Jobs a slot, however short they are."""

HELD_JOBS = 32_768
"""Jobs of one worker, unless it has more slots: it says itself how many it has."""

FLOOR = 50e-6
"""Seconds that any job is taken to need."""

SMOOTHING = 0.2
"""How much the newest duration changes the estimate."""

REFILL_JOBS = 4
"""A worker with this many jobs a slot gets more only when half of its credit is used up, so that
frames stay large while jobs are short."""

PLACE_AT_ONCE = 512
"""Jobs given out in one event; the rest follows in the next ones."""

FEW = 32
"""Workers with credit that are put in order, the one with the least work first."""

BALANCE = 0.010
"""Seconds between looks at workers that hold much while others are idle."""

WORTHWHILE = 0.002
"""Seconds of work a slot, below which nothing is taken back."""


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
        turns = 0
        while free and (waiting := queues.waiting(lane.python)):
            if self._left <= 0:
                self.more = True
                return
            worker = next(iter(free))
            turns = turns or len(free)
            share = ceil(waiting / turns)
            turns -= 1
            del free[worker]
            slots = worker.info.slots - len(worker.held)
            jobs, _ = queues.take_some(lane.turns, min(slots, share, self._left))
            self._give(worker, jobs)
            if share > len(jobs) == slots and self._left > 0:
                # what comes to a worker at once comes in one frame, which costs more than its jobs
                self._give_on_credit(lane, worker, share - slots)

    def _fill_credit(self, lane: Lane) -> None:
        """Share what waits among the workers with credit; those without leave until they have."""
        queues = self._state.queues
        workers = list(lane.credit)
        if 1 < len(workers) <= FEW:
            now = self._state.at.now
            workers.sort(key=lambda worker: worker.load(now) / worker.info.slots)
        for place, worker in enumerate(workers):
            waiting = queues.waiting(lane.python)
            if not waiting:
                return
            if self._left <= 0:
                self.more = True
                return
            share = ceil(waiting / (len(workers) - place))
            if not self._give_on_credit(lane, worker, share):
                return

    def _give_on_credit(self, lane: Lane, worker: WorkerRecord, share: int) -> bool:
        """Give a worker whose slots are taken what it has credit for; whether anything that waits
        is short enough to be given so."""
        room = self._room_beyond(worker)
        if room <= 0.0:
            lane.credit.pop(worker, None)
            return True
        spare = most_held(worker.info.slots) - len(worker.held)
        count = min(share, spare, self._left)
        jobs, left = self._state.queues.take_some(lane.turns, count, room)
        if not jobs:
            return False
        self._give(worker, jobs)
        if left is not None and left <= 0.0:
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
            job.weight = weight = spec.cost.seconds or FLOOR
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
        if not any(lane.laden for lane in self.lanes.values()):
            return None
        waiting = self._state.queues.waiting
        if any(lane.free and not waiting(lane.python) for lane in self.lanes.values()):
            return self._balanced + BALANCE
        return None

    def balance(self) -> None:
        """Take back jobs that wait behind others while slots are free."""
        due, now = self.uneven(), self._state.at.now
        if due is None or due > now:
            return
        self._balanced = now
        for lane in self.lanes.values():
            if lane.free and not self._state.queues.waiting(lane.python):
                self._relieve(lane)

    def _relieve(self, lane: Lane) -> None:
        """Take back for the free workers of a lane from the one with the most work a slot."""
        now = self._state.at.now
        laden = [worker for other in self.lanes.values() for worker in other.laden]
        if not laden:
            return
        victim = max(laden, key=lambda worker: worker.load(now) / worker.info.slots)
        slots = victim.info.slots
        if victim.load(now) / slots < WORTHWHILE:
            return
        spare = sum(worker.info.slots - len(worker.held) for worker in lane.free)
        surplus = len(victim.held) - slots
        count = ceil(surplus * spare / (spare + slots)) - len(victim.retracting)
        for job in self._last_unbegun(victim, lane.python, count):
            self._state.tell_retract(job)

    @staticmethod
    def _last_unbegun(worker: WorkerRecord, python: str, count: int) -> list[JobRecord]:
        jobs: list[JobRecord] = []
        for job in reversed(worker.held.values()):
            if len(jobs) >= count:
                break
            fits = job.spec.spec.python in (None, python)
            if job.state == SENT and fits and job.id not in worker.retracting:
                jobs.append(job)
        return jobs


def most_held(slots: int) -> int:
    """How many jobs a worker may hold that says that it has so many slots."""
    return min(slots * CREDIT_JOBS, max(slots, HELD_JOBS))


def learn(job: JobRecord, seconds: float) -> None:
    """An attempt took this long: correct the estimate for its function."""
    cost = job.spec.cost
    seconds = max(seconds, FLOOR)
    if cost.seconds is None:
        cost.seconds = seconds
    else:
        cost.seconds += (seconds - cost.seconds) * SMOOTHING
