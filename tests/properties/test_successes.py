"""The short way of the common end of an attempt does just what the general one does.

Two schedulers are told the same, and one of them takes every report the general way. After each
event their effects, their records and their counts are the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import pytest
from ampacity.coordinator import effects, events
from ampacity.coordinator.records import GroupRecord, JobRecord, SessionRecord, WorkerRecord
from ampacity.coordinator.scheduler import Scheduler
from ampacity.coordinator.settings import Settings
from ampacity.coordinator.store import MemoryStore
from ampacity.coordinator.stories import kept_of
from ampacity.coordinator.successes import Successes
from ampacity.coordinator.transitions import ENDED
from ampacity.protocol.ids import Attempt, ClientId, JobId, SessionId, WorkerId
from ampacity.protocol.jobs import BlobRef, Submission
from ampacity.protocol.outcomes import Ending, Report
from ampacity.protocol.ports import Beginning, Holding, WorkerInfo
from ampacity.testing.row_store import Disk, RowStore
from ampacity.tests.properties.played_core import WRITES, small_bounds
from ampacity.tests.properties.random_walk import SPECS

STEPS = 250
ENDINGS = [*[Ending.SUCCEEDED] * 12, Ending.FAILED, Ending.LOST, Ending.TIMED_OUT, Ending.CANCELLED]
CLIENTS = {"a1": "a", "a2": "a", "b1": "b"}
BLOBS = (BlobRef(bytes(32), 100_000),)


@pytest.fixture(autouse=True, scope="module")
def few_are_enough() -> Iterator[None]:
    with small_bounds():
        yield


class Side:
    """One of the two schedulers, over a store of its own."""

    def __init__(self, durable: bool) -> None:
        self.store: Any = MemoryStore()
        if durable:
            self.store = RowStore(Disk())
        self.scheduler = Scheduler(Settings(retain_jobs=60, session_keep=60.0), 1, durable)
        self.loads: deque[effects.Load] = deque()
        if durable:
            at = events.Moment(1.0, 1.0)
            self.scheduler.handle(events.Restored(at, self.store.remembered))

    def handle(self, event: events.Event) -> list[Any]:
        """What it wants done, in a form that can be compared."""
        done = self.scheduler.handle(event)
        self.store.commit([effect for effect in done if type(effect) in WRITES])
        self.loads.extend(effect for effect in done if isinstance(effect, effects.Load))
        self.scheduler.check_invariants()
        return [(type(effect).__name__, plain(effect)) for effect in done]

    def answer(self, at: events.Moment) -> list[Any]:
        load = self.loads.popleft()
        return self.handle(events.Loaded(at, load.task, self.store.read(load.question)))

    def all(self) -> dict[str, Any]:
        """What it knows."""
        state, kept = self.scheduler.state, self.scheduler.retention
        return {
            "jobs": [(kept_of(job), job.owed, job.weight) for job in state.jobs.values()],
            "counts": (state.counts, state.totals, state.submitted, state.pending_bytes),
            "kept": (kept.taken, kept.untaken),
            "groups": [(group.id, group.counts, group.jobs) for group in state.groups.values()],
            "costs": {packed: spec.cost.seconds for packed, spec in state.specs.items()},
            "clients": [
                (c.id, c.jobs, c.unfinished, c.pending_bytes, c.untaken, c.runs, c.keys)
                for c in state.clients.values()
            ],
            "sessions": [
                (s.id, list(s.outbox), s.behind, s.missed, s.watched, s.foreign)
                for s in state.sessions.values()
            ],
            "workers": [
                [
                    (w.name, list(w.held), list(w.running), w.retracting, w.unlisted),
                    (w.finished, w.failed, w.lost, pytest.approx(w.work)),
                ]
                for w in state.workers.values()
            ],
            "lanes": [
                [list(map(plain, of)) for of in (lane.free, lane.credit, lane.laden)]
                for lane in self.scheduler.placement.lanes.values()
            ],
            "rest": (len(state.tasks), len(state.loading), state.visiting, state.cooling),
        }


def plain(value: Any) -> Any:
    """A record by what it says now, or by its name."""
    if isinstance(value, JobRecord):
        return kept_of(value)
    if isinstance(value, WorkerRecord):
        return value.name
    if isinstance(value, SessionRecord | GroupRecord):
        return value.id
    if isinstance(value, BaseException):
        return type(value), str(value)
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


class Both:
    """Tells both the same, as a seed says."""

    def __init__(self, seed: int, durable: bool) -> None:
        self.random = Random(seed)
        self.now = 1000.0
        self.asks = 0
        self.short, self.general = Side(durable), Side(durable)
        self.general.scheduler.attempts._successes = General()  # type: ignore[assignment]
        self.sequences = dict.fromkeys(CLIENTS, 0)
        self.ended = 0
        self.steps: list[tuple[int, Callable[[], None]]] = [
            (2, self.open),
            (1, self.leave),
            (8, self.submit),
            (5, self.join),
            (1, self.lose),
            (6, self.begin),
            (20, self.finish),
            (3, self.give_back),
            (4, self.acknowledge),
            (3, self.ask_something),
            (4, self.wait),
        ]

    def run(self) -> None:
        self.open()
        weights, choices = zip(*self.steps, strict=True)
        for step in self.random.choices(choices, weights, k=STEPS):
            step()
            while self.short.loads and self.random.random() < 0.8:
                self._same(self.short.answer(self.at), self.general.answer(self.at))

    @property
    def at(self) -> events.Moment:
        return events.Moment(self.now, self.now + 1e9)

    @property
    def state(self) -> Any:
        return self.short.scheduler.state

    def handle(self, event: events.Event) -> None:
        self._same(self.short.handle(event), self.general.handle(event))

    def _same(self, short: list[Any], general: list[Any]) -> None:
        assert short == general
        assert self.short.all() == self.general.all()

    def _ask(self) -> int:
        self.asks += 1
        return self.asks

    def _some(self, things: Sequence[Any], most: int = 6) -> list[Any]:
        return self.random.sample(things, min(len(things), self.random.randint(0, most)))

    def _session(self) -> tuple[str, SessionId]:
        name = self.random.choice(sorted(CLIENTS))
        return name, SessionId(name.encode().ljust(16))

    # -- clients ----------------------------------------------------------------------------------

    def open(self) -> None:
        name, session = self._session()
        self.handle(events.SessionOpened(self.at, ClientId(CLIENTS[name]), session))

    def leave(self) -> None:
        _, session = self._session()
        self.handle(events.SessionLeft(self.at, session, self.random.random() < 0.3))

    def submit(self) -> None:
        _, session = self._session()
        record = self.state.sessions.get(session)
        number = 1 if record is None else record.next_sequence
        group = self.random.choice([None, None, 1])
        key = self.random.choice([None, None, None, f"k{self.random.randint(0, 9)}"])
        jobs = [
            Submission(self.random.choice(SPECS), bytes(self.random.randint(0, 9)), key, place)
            for place in range(self.random.randint(1, 9))
        ]
        self.handle(events.Submitted(self.at, self._ask(), session, number, group, jobs))

    def acknowledge(self) -> None:
        _, session = self._session()
        record = self.state.sessions.get(session)
        if record is not None:
            self.handle(events.Acknowledged(self.at, session, self._some(list(record.outbox))))

    def ask_something(self) -> None:
        name, session = self._session()
        jobs = self._some([JobId(n) for n in range(1, self.state.next_job + 2)])
        client = ClientId(CLIENTS[name])
        at, ask = self.at, self._ask()
        questions: list[events.Event] = [
            events.CancelAsked(at, ask, client, jobs, self.random.random() < 0.3),
            events.RetryAsked(at, ask, client, jobs),
            events.ForgetAsked(at, ask, client, jobs),
            events.WatchAsked(at, ask, None, session, jobs),
            events.Read(at, jobs),
        ]
        self.handle(self.random.choice(questions))

    # -- workers ----------------------------------------------------------------------------------

    def _worker(self) -> WorkerRecord | None:
        workers = list(self.state.workers.values())
        return self.random.choice(workers) if workers else None

    def join(self) -> None:
        name = self.random.choice(["v", "w", "x"])
        info = WorkerInfo(
            name=name,
            incarnation=name.encode().ljust(16),
            slots=self.random.choice([1, 2, 4]),
            python=self.random.choice(["3.11", "3.12"]),
            host="",
            software="",
        )
        known = self.state.incarnations.get(info.incarnation)
        if known is None or known.away:
            held = [] if known is None else self._some(_holdings(known), 100)
            self.handle(events.WorkerJoined(self.at, known.info if known else info, held))

    def lose(self) -> None:
        if (worker := self._worker()) is not None:
            self.handle(events.WorkerLeft(self.at, worker.name, self.random.random() < 0.3))

    def begin(self) -> None:
        if (worker := self._worker()) is not None:
            begun = [Beginning(h.job, h.attempt, self.now) for h in self._some(_holdings(worker))]
            self.handle(events.Begun(self.at, worker.name, begun))

    def give_back(self) -> None:
        if (worker := self._worker()) is not None:
            back = self._some(_holdings(worker), 3)
            self.handle(events.Returned(self.at, worker.name, back))

    def finish(self) -> None:
        """Reports of what it holds, with some that are old, wrong, double, or of other workers'."""
        worker = self._worker()
        if worker is None:
            return
        named = self._some(_holdings(worker), 12)
        if self.random.random() < 0.3:
            named += self._wrong(named)
            self.random.shuffle(named)
        reports = [self._report(*holding) for holding in named]
        before = self.state.totals[ENDED]
        self.handle(events.Finished(self.at, WorkerId(worker.name), reports))
        self.ended += self.state.totals[ENDED] - before

    def _wrong(self, named: list[Holding]) -> list[Holding]:
        others = [job for job in self.state.jobs.values() if job.attempt is not None]
        wrong = [Holding(JobId(99_999), Attempt(1, 1)), *self._some(named, 2)]
        wrong += [Holding(job, Attempt(1, n + 1)) for job, (_, n) in self._some(named, 2)]
        wrong += [Holding(job, Attempt(0, n)) for job, (_, n) in self._some(named, 2)]
        return wrong + [Holding(job.id, job.attempt) for job in self._some(others, 3)]

    def _report(self, job: JobId, attempt: Attempt) -> Report:
        random = self.random
        return Report(
            job,
            attempt,
            random.choice(ENDINGS),
            random.choice([None, self.now + 1e9 - 1.0]),
            random.choice([0.0, 1e-5, 0.001, 0.3]),
            bytes(random.randint(0, 40)),
            random.choice([(), (), (), (), BLOBS]),
            bytes(random.choice([0, 0, 30])),
            random.choice([True, False]),
        )

    # -- time -------------------------------------------------------------------------------------

    def wait(self) -> None:
        self.now += self.random.choice([0.001, 0.02, 0.5, 6.0])
        tick = self.random.random() < 0.6
        self.handle(events.Tick(self.at) if tick else events.Continue(self.at))


class General:
    """In the place of ``Successes``: none is common."""

    def end(self, worker: WorkerRecord, reports: Iterator[Report]) -> Report | None:
        return next(reports, None)


def _holdings(worker: WorkerRecord) -> list[Holding]:
    return [Holding(job.id, job.attempt) for job in worker.held.values() if job.attempt is not None]


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_the_short_way_is_the_general_one(
    seed: int, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0
    end_run = Successes._end_run

    def counted(self: Successes, *arguments: Any) -> None:
        nonlocal taken
        taken += len(arguments[2])
        end_run(self, *arguments)

    monkeypatch.setattr(Successes, "_end_run", counted)
    both = Both(seed, durable)
    both.run()
    assert taken > 10, "the short way was hardly gone"
