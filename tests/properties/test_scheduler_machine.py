"""The scheduler against a model that knows only what was promised."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ampacity.coordinator import effects, events
from ampacity.coordinator.scheduler import Scheduler
from ampacity.coordinator.settings import Settings
from ampacity.protocol.ids import Attempt, ClientId, JobId, SessionId, WorkerId
from ampacity.protocol.jobs import JobSpec, Submission, pack_spec
from ampacity.protocol.outcomes import Ending, Report
from ampacity.protocol.ports import Beginning, Ended, Holding, WorkerInfo
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

SESSIONS = {"a1": "a", "a2": "a", "b1": "b"}
WORKERS = {"v": "3.11", "w": "3.11", "x": "3.12"}
ENDINGS = [Ending.SUCCEEDED, Ending.FAILED, Ending.LOST, Ending.TIMED_OUT]
SPECS = [
    pack_spec(JobSpec(kind="import", target="m:f")),
    pack_spec(JobSpec(kind="value", target="g", python="3.12")),
    pack_spec(JobSpec(kind="import", target="m:h", deadline=7.0)),
    pack_spec(JobSpec(kind="import", target="m:i", orphans="cancel")),
]


class Cluster(RuleBasedStateMachine):
    """Plays the workers and the clients, and keeps account of what they were told."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.scheduler = Scheduler(Settings(retain_jobs=20, session_keep=60.0), 1)
        self.asks = 0
        self.answers: dict[int, Any] = {}
        self.wake: float | None = None
        self.more = False
        self.sequences: Counter[str] = Counter()
        self.open: set[str] = set()
        self.names: dict[str, str] = {}
        """Connected workers, by the name that they asked for."""
        self.holds: dict[str, dict[Attempt_, bool]] = {name: {} for name in WORKERS}
        """What each worker process holds, and whether it has begun."""
        self.generation: Counter[str] = Counter()
        self.accepted: set[int] = set()
        self.ended: Counter[int] = Counter()
        self.forgotten: set[int] = set()
        self.given: set[Attempt_] = set()
        self.owed: dict[str, set[int]] = {name: set() for name in SESSIONS}

    # -- the other side ---------------------------------------------------------------------------

    @property
    def at(self) -> events.Moment:
        return events.Moment(self.now, self.now)

    def ask(self) -> int:
        self.asks += 1
        return self.asks

    def handle(self, event: events.Event) -> None:
        told = False
        for effect in self.scheduler.handle(event):
            write = type(effect).__name__ in WRITES
            assert not (told and write), "a write after something that was told"
            told = told or not write
            self.take(effect)

    def take(self, effect: Any) -> None:
        match effect:
            case effects.JobsAdded(jobs):
                self.accepted.update(job.id for job in jobs)
            case effects.JobsEnded(outcomes):
                self.ended.update(o.job.id for o in outcomes)
            case effects.JobsForgotten(jobs):
                assert all(self.ended[job] == 1 for job in jobs)
                self.forgotten.update(jobs)
            case effects.Assign(worker, assignments):
                holds = self.holds[worker.info.name]
                for a in assignments:
                    assert (a.job, a.attempt) not in self.given, "an attempt was made twice"
                    self.given.add((a.job, a.attempt))
                    holds[a.job, a.attempt] = False
            case effects.End(worker, attempts):
                for ended in attempts:
                    self.end(worker.info.name, ended)
            case effects.Deliver(session, jobs):
                assert all(self.ended[job] == 1 for job in jobs)
                assert session.id.decode() in self.open
                self.owed[session.id.decode()].update(jobs)
            case effects.Answer(ask, value):
                assert ask not in self.answers
                self.answers[ask] = value
            case effects.Refuse(ask, error):
                raise AssertionError(f"{ask}: {error}")
            case effects.WakeAt(now):
                self.wake = now
            case effects.MoreToDo():
                self.more = True

    def end(self, name: str, ended: Ended) -> None:
        if ended.why == "superseded":
            self.holds[name].pop((ended.job, ended.attempt), None)

    def info(self, name: str) -> WorkerInfo:
        incarnation = f"{name}{self.generation[name]}".encode().ljust(16)
        return WorkerInfo(
            name=name,
            incarnation=incarnation,
            slots=2,
            python=WORKERS[name],
            host="h",
            software="",
        )

    # -- rules ------------------------------------------------------------------------------------

    @rule(session=st.sampled_from(sorted(SESSIONS)))
    def open_session(self, session: str) -> None:
        self.open.add(session)
        self.owed[session].clear()
        id_ = SessionId(session.encode())
        self.handle(events.SessionOpened(self.at, ClientId(SESSIONS[session]), id_))
        self.sequences[session] = self.scheduler.state.sessions[id_].next_sequence

    @precondition(lambda self: self.open)
    @rule(data=st.data(), goodbye=st.booleans())
    def leave_session(self, data: Any, goodbye: bool) -> None:
        session = data.draw(st.sampled_from(sorted(self.open)))
        self.open.discard(session)
        self.handle(events.SessionLeft(self.at, SessionId(session.encode()), goodbye))

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(),
        spec=st.sampled_from(SPECS),
        count=st.integers(1, 6),
        key=st.sampled_from([None, None, "k", "l"]),
        group=st.sampled_from([None, 1]),
        again=st.booleans(),
    )
    def submit(
        self, data: Any, spec: bytes, count: int, key: str | None, group: int | None, again: bool
    ) -> None:
        session = data.draw(st.sampled_from(sorted(self.open)))
        frame = [Submission(spec, b"x", key if n == 0 else None, None) for n in range(count)]
        sequence = self.sequences[session]
        self.sequences[session] += 1
        asks = []
        for _ in range(1 + again):
            asks.append(self.ask())
            id_ = SessionId(session.encode())
            self.handle(events.Submitted(self.at, asks[-1], id_, sequence, group, frame))
        first = self.answers[asks[0]]
        assert sum(n for _, n in first.ids) == count
        assert all(self.answers[ask] == first for ask in asks)

    @precondition(lambda self: self.accepted)
    @rule(data=st.data(), queued_only=st.booleans())
    def cancel(self, data: Any, queued_only: bool) -> None:
        jobs = data.draw(st.lists(st.sampled_from(sorted(self.accepted)), max_size=5))
        for client in "ab":
            ids = [JobId(job) for job in jobs]
            self.handle(events.CancelAsked(self.at, self.ask(), ClientId(client), ids, queued_only))

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def retry(self, data: Any) -> None:
        job = data.draw(st.sampled_from(sorted(self.accepted)))
        self.handle(events.RetryAsked(self.at, self.ask(), ClientId("a"), [JobId(job)]))

    @precondition(lambda self: self.accepted and self.open)
    @rule(data=st.data())
    def watch(self, data: Any) -> None:
        job = data.draw(st.sampled_from(sorted(self.accepted)))
        session = data.draw(st.sampled_from(sorted(self.open)))
        id_ = SessionId(session.encode())
        self.handle(events.WatchAsked(self.at, self.ask(), id_, [JobId(job)]))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def acknowledge(self, data: Any) -> None:
        session = data.draw(st.sampled_from(sorted(self.open)))
        jobs = [JobId(job) for job in sorted(self.owed[session])]
        self.owed[session].clear()
        self.handle(events.Acknowledged(self.at, SessionId(session.encode()), jobs))

    @rule(name=st.sampled_from(sorted(WORKERS)), forgets=st.booleans())
    def join(self, name: str, forgets: bool) -> None:
        if name in self.names:
            return
        holds = self.holds[name]
        if forgets:
            self.generation[name] += 1
            holds.clear()
        held = [Holding(JobId(job), attempt) for job, attempt in holds]
        for effect in self.scheduler.handle(events.WorkerJoined(self.at, self.info(name), held)):
            if isinstance(effect, effects.Joined):
                self.names[name] = effect.worker.name
                for job, attempt in effect.drop:
                    holds.pop((job, attempt), None)
            self.take(effect)

    @precondition(lambda self: self.names)
    @rule(data=st.data(), goodbye=st.booleans())
    def leave(self, data: Any, goodbye: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.names)))
        self.handle(events.WorkerLeft(self.at, WorkerId(self.names.pop(name)), goodbye))

    @precondition(lambda self: any(self.holds[name] for name in self.names))
    @rule(data=st.data(), ending=st.sampled_from(ENDINGS), begins=st.booleans())
    def work(self, data: Any, ending: Ending, begins: bool) -> None:
        """A worker begins, ends or gives back some of what it holds."""
        name = data.draw(st.sampled_from([n for n in sorted(self.names) if self.holds[n]]))
        holds = self.holds[name]
        some = data.draw(st.lists(st.sampled_from(sorted(holds)), unique=True, max_size=4))
        worker = WorkerId(self.names[name])
        if begins:
            for attempt in some:
                holds[attempt] = True
            begun = [Beginning(JobId(job), attempt, self.now) for job, attempt in some]
            self.handle(events.Begun(self.at, worker, begun))
            return
        reports = []
        for job, attempt in some:
            began = self.now if holds.pop((job, attempt)) else None
            reports.append(Report(JobId(job), attempt, ending, began, 0.01, b""))
        self.handle(events.Finished(self.at, worker, reports))

    @precondition(lambda self: any(self.holds[name] for name in self.names))
    @rule(data=st.data())
    def give_back(self, data: Any) -> None:
        name = data.draw(st.sampled_from([n for n in sorted(self.names) if self.holds[n]]))
        unbegun = [held for held, begun in sorted(self.holds[name].items()) if not begun]
        back = [Holding(JobId(job), attempt) for job, attempt in unbegun[:3]]
        for job, attempt in back:
            del self.holds[name][job, attempt]
        self.handle(events.Returned(self.at, WorkerId(self.names[name]), back))

    @rule(seconds=st.sampled_from([0.02, 0.5, 2.0, 6.0, 11.0]))
    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.wake is not None and self.wake <= end:
            self.now = max(self.now, self.wake)
            self.wake = None
            self.handle(events.Tick(self.at))
            self.wake = self.scheduler.wake
        self.now = end

    @rule()
    def go_on(self) -> None:
        while self.more:
            self.more = False
            self.handle(events.Continue(self.at))

    # -- what must hold ---------------------------------------------------------------------------

    @invariant()
    def records_agree(self) -> None:
        self.scheduler.check_invariants()

    @invariant()
    def no_job_is_lost_and_none_ends_twice(self) -> None:
        known = set(self.scheduler.state.jobs)
        assert known == self.accepted - self.forgotten
        assert all(count == 1 for count in self.ended.values())
        assert {
            job for job, record in self.scheduler.state.jobs.items() if record.ended is not None
        } == (set(self.ended) - self.forgotten)

    def teardown(self) -> None:
        """With workers that work, everything ends."""
        for name in WORKERS:
            self.join(name, forgets=False)
        for _ in range(1000):
            self.go_on()
            for name, worker in self.names.items():
                done, self.holds[name] = self.holds[name], {}
                reports = [
                    Report(JobId(job), attempt, Ending.SUCCEEDED, self.now, 0.01, b"")
                    for job, attempt in done
                ]
                self.handle(events.Finished(self.at, WorkerId(worker), reports))
            self.wait(2.0)
            if not sum(self.scheduler.state.counts[:3]):
                break
        self.scheduler.check_invariants()
        assert set(self.ended) == self.accepted, "jobs that never ended"


Attempt_ = tuple[int, Attempt]
WRITES = {
    "JobsAdded",
    "GroupSaved",
    "SessionSaved",
    "AttemptsMade",
    "JobsRequeued",
    "JobsEnded",
    "JobsForgotten",
    "GroupForgotten",
    "SessionForgotten",
}

TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
