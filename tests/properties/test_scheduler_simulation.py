"""A thousand workers, a hundred thousand jobs, a virtual clock, and workers that die."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from random import Random
from typing import Any

import pytest
from ampacity.coordinator import effects, events
from ampacity.coordinator.scheduler import Scheduler
from ampacity.coordinator.settings import Settings
from ampacity.coordinator.store import MemoryStore
from ampacity.protocol.ids import ClientId, JobId, SessionId, WorkerId
from ampacity.protocol.jobs import JobSpec, Submission, pack_spec
from ampacity.protocol.outcomes import Ending, Report
from ampacity.protocol.ports import Beginning, Holding, WorkerInfo
from ampacity.testing.row_store import Disk, RowStore
from ampacity.tests.properties.played_core import WRITES

SESSION = SessionId(b"simulation")
FRAME = 500


class Simulation:
    """Workers that take jobs one after the other in each slot; some die, some lose their way."""

    def __init__(
        self, seed: int, workers: int, jobs: int, deaths: int, away: int, durable: bool = False
    ) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.store: Any = RowStore(Disk()) if durable else MemoryStore()
        self.scheduler = Scheduler(Settings(max_losses=1000, retain_jobs=jobs + 1), 1, durable)
        self.reading: deque[effects.Load] = deque()
        self.jobs = jobs
        self.queue: list[tuple[float, int, Any, Any]] = []
        self.count = 0
        self.events = 0
        self.holds: dict[str, list[Any]] = {}
        self.busy: set[str] = set()
        self.away: dict[str, list[Any]] = {}
        self.infos: dict[str, WorkerInfo] = {}
        self.ended: Counter[int] = Counter()
        self.delivered: Counter[int] = Counter()
        self.executions: Counter[int] = Counter()
        self.longest = 0
        self.handle(events.SessionOpened(self.at, ClientId("c"), SESSION))
        for number in range(workers):
            self.at_time(self.random.random(), self.join, f"w{number}")
        for frame in range(jobs // FRAME):
            self.at_time(self.random.random() * 20, self.submit, frame + 1)
        for number in range(deaths):
            self.at_time(1 + self.random.random() * 25, self.die, number)
        for number in range(away):
            self.at_time(1 + self.random.random() * 25, self.lose_way, number)

    @property
    def at(self) -> events.Moment:
        return events.Moment(self.now, self.now)

    def at_time(self, when: float, what: Any, argument: Any) -> None:
        self.count += 1
        heapq.heappush(self.queue, (when, self.count, what, argument))

    def run(self) -> None:
        while self.queue and len(self.delivered) < self.jobs:
            self.now, _, what, argument = heapq.heappop(self.queue)
            what(argument)

    # -- the scheduler ----------------------------------------------------------------------------

    def handle(self, event: events.Event) -> None:
        self.events += 1
        placed = 0
        done = self.scheduler.handle(event)
        self.store.commit([effect for effect in done if type(effect) in WRITES])
        for effect in done:
            match effect:
                case effects.Assign(worker, assignments):
                    placed += len(assignments)
                    self.take(worker.name, assignments)
                case effects.JobsEnded(outcomes):
                    self.ended.update(o.job.id for o in outcomes)
                case effects.Deliver(_, jobs):
                    self.delivered.update(jobs)
                    self.at_time(self.now + 0.001, self.acknowledge, jobs)
                case effects.Joined(worker, drop):
                    assert worker.name in self.infos, "the name was still taken"
                    assert not drop, "a worker came back in time"
                case effects.Retract(worker, holdings):
                    self.at_time(self.now + 0.001, self.give_back, (worker.name, holdings))
                case effects.WakeAt(now) if now is not None:
                    self.at_time(max(now, self.now), self.tick, now)
                case effects.Load():
                    self.reading.append(effect)
                    if len(self.reading) == 1:
                        self.read(None)
                case effects.MoreToDo():
                    self.at_time(self.now + 0.0001, self.go_on, None)
        self.longest = max(self.longest, placed)

    def read(self, _: None) -> None:
        """The store takes a millisecond for each question."""
        load = self.reading[0]
        found = self.store.read(load.question)
        self.at_time(self.now + 0.001, self.answer, (load.task, found))

    def answer(self, answer: tuple[int, Any]) -> None:
        self.handle(events.Loaded(self.at, *answer))
        self.reading.popleft()
        if self.reading:
            self.read(None)

    def tick(self, when: float) -> None:
        if self.scheduler.wake == when:
            self.handle(events.Tick(self.at))

    def go_on(self, _: None) -> None:
        self.handle(events.Continue(self.at))

    # -- the client -------------------------------------------------------------------------------

    def submit(self, frame: int) -> None:
        spec = pack_spec(JobSpec(kind="import", target=f"m:f{frame % 7}"))
        jobs = [Submission(spec, b"")] * FRAME
        self.handle(events.Submitted(self.at, frame, SESSION, frame, None, jobs))

    def acknowledge(self, jobs: list[JobId]) -> None:
        self.handle(events.Acknowledged(self.at, SESSION, jobs))

    # -- the workers ------------------------------------------------------------------------------

    def join(self, name: str) -> None:
        self.count += 1
        info = WorkerInfo(
            name=name,
            incarnation=b"%16d" % self.count,
            slots=self.random.choice([1, 2, 4]),
            python="3.11",
            host="",
            software="",
        )
        self.infos[name] = info
        self.holds[name] = []
        self.handle(events.WorkerJoined(self.at, info, []))

    def take(self, name: str, assignments: list[Any]) -> None:
        self.holds[name].extend(assignments)
        if name not in self.busy:
            self.busy.add(name)
            self.at_time(self.now + 0.0005, self.work, (name, self.infos[name]))

    def work(self, worker: tuple[str, WorkerInfo]) -> None:
        """Begin as many jobs as there are slots; their end comes after a while."""
        name, info = worker
        if self.infos.get(name) is not info or name not in self.holds:
            return
        begun = self.holds[name][: info.slots]
        if not begun:
            self.busy.discard(name)
        else:
            beginnings = [Beginning(a.job, a.attempt, self.now) for a in begun]
            self.handle(events.Begun(self.at, WorkerId(name), beginnings))
            self.executions.update(a.job for a in begun)
            seconds = self.random.choice([0.01, 0.05, 0.3])
            self.at_time(self.now + seconds, self.end, (name, info, begun, seconds))

    def end(self, work: tuple[str, WorkerInfo, list[Any], float]) -> None:
        name, info, begun, seconds = work
        if self.infos.get(name) is not info:
            return
        if name in self.away:
            self.at_time(self.now + 0.5, self.end, work)
            return
        done = {(a.job, a.attempt) for a in begun}
        self.holds[name] = [a for a in self.holds[name] if (a.job, a.attempt) not in done]
        reports = [
            Report(a.job, a.attempt, Ending.SUCCEEDED, self.now - seconds, seconds, b"")
            for a in begun
        ]
        self.handle(events.Finished(self.at, WorkerId(name), reports))
        self.work((name, info))

    def give_back(self, asked: tuple[str, list[Holding]]) -> None:
        name, holdings = asked
        if name not in self.holds or name in self.away:
            return
        slots = self.infos[name].slots
        wanted = set(holdings)
        back = [h for a in self.holds[name][slots:] if (h := Holding(a.job, a.attempt)) in wanted]
        self.holds[name] = [a for a in self.holds[name] if Holding(a.job, a.attempt) not in back]
        self.handle(events.Returned(self.at, WorkerId(name), back))

    def die(self, number: int) -> None:
        """A worker dies; another takes its place under the same name when its lease is over."""
        name = self.random.choice(sorted(self.holds) or [""])
        if name in self.holds and name not in self.away:
            del self.holds[name], self.infos[name]
            self.busy.discard(name)
            self.handle(events.WorkerLeft(self.at, WorkerId(name), number % 3 == 0))
            self.at_time(self.now + 5.2, self.join, name)

    def lose_way(self, number: int) -> None:
        """A connection is lost, and made again within the lease."""
        name = self.random.choice(sorted(self.holds) or [""])
        if name in self.holds and name not in self.away:
            self.away[name] = self.holds[name]
            self.handle(events.WorkerLeft(self.at, WorkerId(name), False))
            self.at_time(self.now + self.random.random() * 4, self.come_back, name)

    def come_back(self, name: str) -> None:
        held = [Holding(a.job, a.attempt) for a in self.away.pop(name)]
        self.handle(events.WorkerJoined(self.at, self.infos[name], held))


def check(simulation: Simulation) -> None:
    simulation.run()
    simulation.scheduler.check_invariants()
    jobs = range(1, simulation.jobs + 1)
    assert [job for job in jobs if simulation.ended[job] != 1] == [], "lost or ended twice"
    assert [job for job in jobs if simulation.delivered[job] != 1] == [], "not delivered once"
    assert [job for job in jobs if simulation.executions[job] < 1] == [], "never executed"


def test_a_thousand_workers_lose_nothing() -> None:
    simulation = Simulation(seed=1, workers=1000, jobs=100_000, deaths=200, away=100)
    check(simulation)
    again = sum(simulation.executions.values()) - simulation.jobs
    assert 0 < again < 2000, "what was running when its worker died, and no more"
    assert simulation.longest <= 1000, "jobs placed by one event"


@pytest.mark.parametrize("seed", range(20))
def test_small_clusters_lose_nothing(seed: int) -> None:
    check(Simulation(seed=seed, workers=5, jobs=2000, deaths=8, away=8))


@pytest.mark.parametrize("seed", range(5))
def test_small_clusters_over_a_disk_lose_nothing(seed: int) -> None:
    check(Simulation(seed=seed, workers=5, jobs=3000, deaths=8, away=8, durable=True))


def test_without_faults_every_job_is_executed_once() -> None:
    simulation = Simulation(seed=3, workers=20, jobs=5000, deaths=0, away=0)
    check(simulation)
    assert set(simulation.executions.values()) == {1}
