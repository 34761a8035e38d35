"""A played cluster that does what a seed says: thousands of steps where Hypothesis has tens."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from ampacity.coordinator import events
from ampacity.coordinator.settings import Settings
from ampacity.protocol.ids import ClientId, JobId
from ampacity.protocol.jobs import JobSpec, pack_spec
from ampacity.protocol.outcomes import Ending
from ampacity.tests.properties.account import Key
from ampacity.tests.properties.peers import Session, Worker
from ampacity.tests.properties.played_cluster import PlayedCluster

SPECS = [
    pack_spec(JobSpec(kind="import", target="m:f")),
    pack_spec(JobSpec(kind="value", target="g", python="3.12")),
    pack_spec(JobSpec(kind="import", target="m:h", deadline=7.0)),
    pack_spec(JobSpec(kind="import", target="m:i", orphans="cancel", max_losses=0)),
    pack_spec(JobSpec(kind="import", target="m:r", retries=2, backoff=0.5)),
]
ENDINGS = [Ending.SUCCEEDED, Ending.SUCCEEDED, Ending.FAILED, Ending.LOST, Ending.TIMED_OUT]
RECENT = 20
LOOKS = 0.1
"""How often all rows are compared with the records."""


class Walk:
    """``steps`` of it, from a seed; ``restarts``: how often in a thousand steps."""

    def __init__(self, seed: int, settings: Settings, durable: bool) -> None:
        self.random = Random(seed)
        self.cluster = PlayedCluster(settings, durable)
        self.durable = durable
        self.cluster.core.restore(self.cluster.at)
        steps: list[tuple[int, Callable[[], None]]] = [
            (4, self.open),
            (2, self.leave),
            (8, self.submit),
            (3, self.cancel),
            (3, self.retry),
            (2, self.forget),
            (2, self.read),
            (4, self.watch),
            (14, self.acknowledge),
            (6, self.join),
            (2, self.lose),
            (12, self.begin),
            (14, self.finish),
            (3, self.give_back),
            (6, self.wait),
            (1, self.stand_still),
            (6, self.go_on),
            (16, self.read_next),
            (14, self.answer),
            (3, self.commit),
            (1, self.restart),
        ]
        self.steps = [step for weight, step in steps for _ in range(weight)]

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.random.choice(self.steps)()
            if self.random.random() < LOOKS:
                self.cluster.core.check_rows()
        self.cluster.finish_all()

    # -- who, and what ----------------------------------------------------------------------------

    def session(self) -> Session | None:
        there = [s for s in self.cluster.sessions.values() if s.connected]
        return self.random.choice(there) if there else None

    def worker(self) -> Worker | None:
        there = [w for w in self.cluster.workers.values() if w.name is not None]
        return self.random.choice(there) if there else None

    def keys(self, worker: Worker) -> list[Key]:
        keys = sorted(worker.holds.keys() - worker.reports.keys())
        return self.random.sample(keys, self.random.randint(0, len(keys)))

    def jobs(self) -> list[JobId]:
        recent = sorted(self.cluster.account.accepted)[-RECENT:]
        return self.random.sample(recent, min(len(recent), self.random.randint(1, 6)))

    # -- clients ----------------------------------------------------------------------------------

    def open(self) -> None:
        session = self.random.choice(list(self.cluster.sessions.values()))
        if not session.connected or self.random.random() < 0.2:
            self.cluster.open(session)

    def leave(self) -> None:
        session = self.session()
        if session is not None:
            self.cluster.leave(session, self.random.random() < 0.2)

    def submit(self) -> None:
        session, random = self.session(), self.random
        if session is None:
            return
        key = random.choice([None, None, "k", "l"])
        group = random.choice([None, 1])
        sequence = self.cluster.submit(
            session, random.choice(SPECS), random.randint(1, 6), key, group
        )
        if random.random() < 0.2:
            self.cluster.send(session, sequence)

    def cancel(self) -> None:
        ask, client = self.cluster.ask(), ClientId(self.random.choice("ab"))
        only = self.random.random() < 0.5
        event = events.CancelAsked(self.cluster.at, ask, client, self.jobs()[:2], only)
        self.cluster.core.handle(event)

    def retry(self) -> None:
        ask = self.cluster.ask()
        event = events.RetryAsked(self.cluster.at, ask, ClientId("a"), self.jobs())
        self.cluster.core.handle(event)

    def forget(self) -> None:
        ask = self.cluster.ask()
        event = events.ForgetAsked(self.cluster.at, ask, ClientId("a"), self.jobs()[:2])
        self.cluster.core.handle(event)

    def read(self) -> None:
        self.cluster.core.handle(events.Read(self.cluster.at, self.jobs()))

    def watch(self) -> None:
        session = self.session()
        if session is not None:
            self.cluster.watch(session, self.jobs())

    def acknowledge(self) -> None:
        session = self.session()
        if session is not None:
            owed = sorted(session.owed)
            some = self.random.sample(owed, self.random.randint(0, len(owed)))
            self.cluster.acknowledge(session, some)

    # -- workers ----------------------------------------------------------------------------------

    def join(self) -> None:
        worker = self.random.choice(list(self.cluster.workers.values()))
        if worker.name is None:
            if self.random.random() < 0.3:
                worker.begin_anew()
            self.cluster.join(worker)

    def lose(self) -> None:
        worker = self.worker()
        if worker is not None:
            self.cluster.lose(worker, self.random.random() < 0.3)

    def begin(self) -> None:
        worker = self.worker()
        if worker is not None:
            self.cluster.begin(worker, self.keys(worker))

    def finish(self) -> None:
        worker = self.worker()
        if worker is not None:
            ending = self.random.choice(ENDINGS)
            self.cluster.finish(worker, self.keys(worker), ending, self.random.random() < 0.8)

    def give_back(self) -> None:
        worker = self.worker()
        if worker is not None:
            self.cluster.give_back(worker, self.keys(worker))

    # -- time, and the store ----------------------------------------------------------------------

    def wait(self) -> None:
        self.cluster.later(self.random.choice([0.02, 0.02, 0.5, 0.5, 2.0, 6.0, 31.0]))

    def stand_still(self) -> None:
        seconds = self.random.choice([1.5, 20.0])
        self.cluster.now += seconds
        self.cluster.core.handle(events.Paused(self.cluster.at, seconds))

    def go_on(self) -> None:
        self.cluster.core.go_on(self.cluster.at)

    def read_next(self) -> None:
        self.cluster.core.read_next()

    def answer(self) -> None:
        fails = self.durable and self.random.random() < 0.1
        self.cluster.core.answer(self.cluster.at, fails)

    def commit(self) -> None:
        self.cluster.core.commit()
        self.cluster.core.lazy = self.random.random() < 0.4

    def restart(self) -> None:
        if self.durable and self.random.random() < 0.3:
            self.cluster.restart()
