"""A scheduler and workers that run jobs as the agents do, in virtual time.

A worker begins its jobs in order, one a slot, and reports each as it ends. What has run for a while
is announced; what has waited for long, while every slot is busy with longer jobs, is given back.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ampacity.coordinator import effects, events
from ampacity.coordinator.scheduler import Scheduler
from ampacity.coordinator.settings import Settings
from ampacity.coordinator.store import MemoryStore
from ampacity.protocol.ids import ClientId, SessionId, WorkerId
from ampacity.protocol.jobs import Assignment, JobSpec, Submission, pack_spec
from ampacity.protocol.outcomes import Ending, Report
from ampacity.protocol.packing import pack, unpack
from ampacity.protocol.ports import Beginning, Holding, WorkerInfo
from ampacity.tests.properties.played_core import WRITES

WAY = 0.0002
"""Seconds from the coordinator to a worker, and back."""
ROUND = 0.0001
"""Seconds that the coordinator is busy for each frame, and what follows from it."""
TICK, ANNOUNCED, RETURNED = 0.025, 0.02, 0.05
"""As in ``workers.lookout``."""
FRAME = 64
EACH = 0.0003
"""Seconds between two frames of a client."""


class Machine:
    """One worker."""

    def __init__(self, house: PlayedSlots, name: str, slots: int) -> None:
        self.house = house
        self.name = WorkerId(name)
        self.slots = slots
        self.waiting: deque[tuple[float, Assignment]] = deque()
        self.running: dict[int, tuple[float, Assignment]] = {}
        self.announced: set[int] = set()
        self.ticking = False

    def take(self, assignments: Sequence[Assignment]) -> None:
        self.waiting.extend((self.house.now, one) for one in assignments)
        self.begin()

    def begin(self) -> None:
        house = self.house
        while self.waiting and len(self.running) < self.slots:
            _, job = self.waiting.popleft()
            self.running[job.job] = house.now, job
            house.begun[job.job] = house.now
            house.later(unpack(job.payload), self.end, job)  # type: ignore[arg-type]
        if self.running and not self.ticking:
            self.ticking = True
            house.later(TICK, self.tick)

    def end(self, job: Assignment) -> None:
        began, _ = self.running.pop(job.job)
        self.announced.discard(job.job)
        house = self.house
        assert job.job not in house.ended, "a job has ended twice"
        house.ended[job.job] = house.now
        report = Report(job.job, job.attempt, Ending.SUCCEEDED, began, house.now - began, b"")
        house.later(WAY, self.finished, [report])
        self.begin()

    def finished(self, reports: list[Report]) -> None:
        self.house.handle(events.Finished(self.house.at, self.name, reports))

    def tick(self) -> None:
        self.ticking = False
        now, begun = self.house.now, []
        for began, job in self.running.values():
            if now - began > ANNOUNCED and job.job not in self.announced:
                self.announced.add(job.job)
                begun.append(Beginning(job.job, job.attempt, began))
        if begun:
            self.house.later(WAY, self.tell, events.Begun, begun)
        long = [job for began, job in self.running.values() if now - began > RETURNED]
        if len(long) == self.slots:
            self.give_back([job for since, job in self.waiting if now - since > RETURNED])
        self.begin()

    def retract(self, holdings: Sequence[Holding]) -> None:
        wanted = set(holdings)
        self.give_back([job for _, job in self.waiting if Holding(job.job, job.attempt) in wanted])

    def give_back(self, jobs: list[Assignment]) -> None:
        back = [Holding(job.job, job.attempt) for job in jobs]
        gone = {job.job for job in jobs}
        self.waiting = deque(one for one in self.waiting if one[1].job not in gone)
        if back:
            self.house.later(WAY, self.tell, events.Returned, back)

    def tell(self, kind: Callable[..., events.Event], what: list[Any]) -> None:
        self.house.handle(kind(self.house.at, self.name, what))


class PlayedSlots:
    """The workers of one scheduler, and its one client."""

    def __init__(self, workers: int, slots: int = 1, each_frame: float = ROUND) -> None:
        self.now = 1.0
        self.each_frame = each_frame
        self.scheduler = Scheduler(Settings(), 1)
        self.store: Any = MemoryStore()
        self.begun: dict[int, float] = {}
        """When jobs have begun, the last time."""
        self.ended: dict[int, float] = {}
        self.frames: list[tuple[str, int]] = []
        """The worker, and how many jobs it was given at once."""
        self._busy = 0.0  # until then
        self._queue: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._count = 0
        self._jobs = 0
        self._sessions: dict[str, int] = {}
        self.machines: dict[str, Machine] = {}
        for number in range(workers):
            self._join(f"w{number}", slots)

    def _join(self, name: str, slots: int) -> None:
        self.machines[name] = Machine(self, name, slots)
        incarnation = name.encode().ljust(16)
        info = WorkerInfo(
            name=name, incarnation=incarnation, slots=slots, python="3.11", host="", software=""
        )
        self.handle(events.WorkerJoined(self.at, info, []))

    @property
    def at(self) -> events.Moment:
        return events.Moment(self.now, self.now)

    def later(self, seconds: float, what: Callable[..., Any], *arguments: Any) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now + seconds, self._count, what, arguments))

    def run(self) -> None:
        """Until every job has ended."""
        while len(self.ended) < self._jobs:
            self._step()

    def _step(self) -> None:
        self.now, _, what, arguments = heapq.heappop(self._queue)
        what(*arguments)

    # -- the client -------------------------------------------------------------------------------

    def submit(self, seconds: Sequence[float], target: str = "m:f", client: str = "c") -> None:
        """Jobs of one function, which take so long; a frame after the other."""
        if client not in self._sessions:
            self._sessions[client] = 0
            who = SessionId(client.encode().ljust(16))
            self.handle(events.SessionOpened(self.at, ClientId(client), who))
        spec = pack_spec(JobSpec(kind="import", target=target))
        self._jobs += len(seconds)
        for number, start in enumerate(range(0, len(seconds), FRAME)):
            jobs = [Submission(spec, pack(one)) for one in seconds[start : start + FRAME]]
            self.later(number * EACH, self._submit, client, jobs)

    def _submit(self, client: str, jobs: list[Submission]) -> None:
        self._sessions[client] += 1
        who, number = SessionId(client.encode().ljust(16)), self._sessions[client]
        self.handle(events.Submitted(self.at, number, who, number, None, jobs))

    def learn(self, seconds: float, target: str = "m:f") -> None:
        """The function is known to take so long."""
        for _ in range(2):
            self.submit([seconds] * 20, target)
            self.run()
        self.rest()

    def rest(self) -> None:
        """What is under way arrives; what was seen up to now is forgotten."""
        until = self.now + 1.0
        self.later(1.0, lambda: None)
        while self.now < until:
            self._step()
        self.begun, self.ended, self._jobs = {}, {}, 0
        self.frames.clear()

    # -- the scheduler ----------------------------------------------------------------------------

    def handle(self, event: events.Event) -> None:
        done = self.scheduler.handle(event)
        self.store.commit([effect for effect in done if type(effect) in WRITES])
        given: dict[str, list[Assignment]] = {}
        for effect in done:
            match effect:
                case effects.Assign(worker, assignments):
                    given.setdefault(worker.name, []).extend(assignments)
                case effects.Retract(worker, holdings):
                    self.later(WAY, self.machines[worker.name].retract, holdings)
                case effects.Deliver(session, jobs):
                    self.later(WAY, self._acknowledge, session.id, jobs)
                case effects.WakeAt(now) if now is not None:
                    self.later(max(0.0, now - self.now), self._tick, now)
                case effects.MoreToDo():
                    self.later(1e-5, self._go_on)
        for name, assignments in given.items():
            self.frames.append((name, len(assignments)))
            self._busy = max(self._busy, self.now) + self.each_frame
            self.later(self._busy - self.now + WAY, self.machines[name].take, assignments)

    def _acknowledge(self, session: SessionId, jobs: list[Any]) -> None:
        self.handle(events.Acknowledged(self.at, session, jobs))

    def _tick(self, when: float) -> None:
        if self.scheduler.wake == when:
            self.handle(events.Tick(self.at))

    def _go_on(self) -> None:
        self.handle(events.Continue(self.at))
