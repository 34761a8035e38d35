"""For the scheduler, a stage: events by short names, effects as lines, none of them unnoticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

import pytest
from ampacity.coordinator import effects, events
from ampacity.coordinator.kept import KeptJob
from ampacity.coordinator.scheduler import Scheduler
from ampacity.coordinator.settings import Settings
from ampacity.coordinator.store import MemoryStore
from ampacity.coordinator.stories import kept_of
from ampacity.coordinator.transitions import STATE_NAMES
from ampacity.protocol.ids import Attempt, ClientId, JobId, SessionId, WorkerId
from ampacity.protocol.jobs import JobSpec, Submission, pack_spec
from ampacity.protocol.outcomes import (
    Ending,
    Outcome,
    Report,
    unpack_outcome,
)
from ampacity.protocol.ports import Beginning, Ended, Holding, WorkerInfo
from ampacity.testing.row_store import Disk, RowStore

TERM = 7
WRITES = set(get_args(effects.Write))


def ids(jobs: Any) -> str:
    return " ".join(str(getattr(job, "id", job)) for job in jobs)


def attempts(holdings: Sequence[Any]) -> str:
    return " ".join(
        f"{h.job}/{h.attempt.number}" + (f" {h.why}" if isinstance(h, Ended) else "")
        for h in holdings
    )


def line_of(effect: Any) -> str:
    """An effect as a line."""
    match effect:
        case effects.JobsAdded(jobs):
            return f"write: added {ids(jobs)}"
        case effects.SessionSaved(session, _sequence, _answer):
            return f"write: session {session.id.decode()} next {session.next_sequence}"
        case effects.GroupSaved(group):
            return f"write: group {group.id} size {group.size}"
        case effects.AttemptsMade(worker, jobs):
            return f"write: attempts {worker.name} {ids(jobs)}"
        case effects.JobsChanged(jobs):
            changed = ", ".join(f"{job.id} {STATE_NAMES[job.state]}" for job in jobs)
            return f"write: changed {changed}"
        case effects.JobsTaken(jobs):
            return f"write: taken {ids(jobs)}"
        case effects.WorkerSaved(worker):
            return f"write: worker {worker.name}"
        case effects.WorkerForgotten(worker):
            return f"write: worker {worker.name} forgotten"
        case effects.JobsEnded(outcomes):
            ended = ", ".join(f"{o.job.id} {STATE_NAMES[o.job.state]}" for o in outcomes)
            return f"write: ended {ended}"
        case effects.JobsForgotten(jobs):
            return f"write: forgotten {ids(jobs)}"
        case effects.GroupForgotten(group):
            return f"write: group {group.id} forgotten"
        case effects.SessionForgotten(session):
            return f"write: session {session.id.decode()} forgotten"
        case effects.Answer(ask, value):
            return f"answer {ask}: {value}"
        case effects.Refuse(ask, error):
            return f"refuse {ask}: {type(error).__name__}"
        case effects.Joined(worker, drop):
            return f"joined {worker.name}" + (f" drop {attempts(drop)}" if drop else "")
        case effects.Gone(worker):
            return f"gone {worker.name}"
        case effects.Opened(session):
            return f"opened {session.id.decode()}"
        case effects.Assign(worker, assignments):
            return f"assign {worker.name}: {attempts(assignments)}"
        case effects.End(worker, ended):
            return f"end {worker.name}: {attempts(ended)}"
        case effects.Retract(worker, holdings):
            return f"retract {worker.name}: {attempts(holdings)}"
        case effects.Deliver(session, jobs):
            return f"deliver {session.id.decode()}: {ids(jobs)}"
        case effects.Hold(digests):
            return "hold " + " ".join(digest.decode().strip("\0") for digest in digests)
        case effects.Release(digests):
            return "release " + " ".join(digest.decode().strip("\0") for digest in digests)
        case effects.MoreToDo():
            return "more"
    raise AssertionError(effect)


class Stage:
    """A scheduler, its time, and the lines of its effects that nobody has asserted yet."""

    def __init__(self, disk: Disk | None = None, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.disk = disk
        """What a restart leaves; None: nothing."""
        if disk is not None:
            disk.term = TERM - 1
        self._reign()
        self.now = 1000.0
        self.wall = 1_700_000_000.0
        self.lines: list[str] = []
        self.loads: list[events.Loaded] = []
        self.slow = False
        """Whether answers of the store wait for ``answer``."""
        self.bodies: dict[int, bytes] = {}
        self.asks = 0
        self.sequences: dict[str, int] = {}
        self.wake: float | None = None

    def _reign(self) -> None:
        self.store: Any = MemoryStore() if self.disk is None else RowStore(self.disk)
        self.scheduler = Scheduler(self.settings, TERM, self.store.durable)

    def restart(self, seconds: float = 0.0) -> None:
        """The coordinator dies; another takes its place after a while, with a clock of its own."""
        self.wake = None
        self.now, self.wall = 5.0, self.wall + seconds
        self._reign()
        self.handle(events.Restored(self.at, self.store.remembered))

    # -- running ----------------------------------------------------------------------------------

    @property
    def at(self) -> events.Moment:
        return events.Moment(self.now, self.wall)

    def ask(self) -> int:
        self.asks += 1
        return self.asks

    def handle(self, event: events.Event) -> None:
        done = self.scheduler.handle(event)
        self.store.commit([effect for effect in done if type(effect) in WRITES])
        for effect in done:
            if isinstance(effect, effects.Load):
                found = self.store.read(effect.question)
                self.loads.append(events.Loaded(self.at, effect.task, found))
                continue
            if isinstance(effect, effects.WakeAt):
                self.wake = effect.now
                continue
            if isinstance(effect, effects.Silent):
                continue  # of interest to the driver's listeners, and tested there
            if isinstance(effect, effects.JobsEnded):
                self.bodies.update((o.job.id, o.body) for o in effect.outcomes)
            self.lines.append(line_of(effect))
        self.scheduler.check_invariants()
        while self.loads and not self.slow:
            self.handle(self.loads.pop(0))

    def answer(self, fails: bool = False) -> None:
        """The store's next answer, which was read when it was asked for, is here."""
        loaded = self.loads.pop(0)
        self.handle(loaded._replace(at=self.at, found=None if fails else loaded.found))

    def expect(self, *lines: str) -> None:
        """These effects, in this order, and no others."""
        got, self.lines = self.lines, []
        assert got == list(lines)

    def ignore(self) -> None:
        """What led here is another test's."""
        self.lines = []

    def only(self, *kinds: str) -> list[str]:
        """The lines that begin with one of these words; the others are dropped."""
        got, self.lines = self.lines, []
        return [line for line in got if line.startswith(kinds)]

    def later(self, seconds: float) -> None:
        """Time passes, with the ticks that were asked for."""
        end = self.now + seconds
        while self.wake is not None and self.wake <= end:
            self._pass(max(self.now, self.wake))
            self.handle(events.Tick(self.at))
        self._pass(end)

    def _pass(self, now: float) -> None:
        self.wall += now - self.now
        self.now = now

    def go_on(self) -> int:
        """Run what was announced with ``more``; how many slices it took."""
        slices = 0
        while "more" in self.lines:
            self.lines.remove("more")
            self.handle(events.Continue(self.at))
            slices += 1
        return slices

    # -- clients ----------------------------------------------------------------------------------

    def open(self, session: str = "s", client: str = "local") -> None:
        self.handle(events.SessionOpened(self.at, ClientId(client), SessionId(session.encode())))

    def leave(self, session: str = "s", goodbye: bool = False) -> None:
        self.handle(events.SessionLeft(self.at, SessionId(session.encode()), goodbye))

    def submit(
        self,
        count: int = 1,
        session: str = "s",
        sequence: int | None = None,
        group: int | None = None,
        keys: Sequence[str | None] | None = None,
        payload: Any = b"",
        **spec: Any,
    ) -> None:
        if sequence is None:
            sequence = self.sequences.get(session, 0) + 1
        self.sequences[session] = max(sequence, self.sequences.get(session, 0))
        packed = pack_spec(JobSpec(**({"kind": "import", "target": "m:f"} | spec)))
        submissions = [
            Submission(packed, payload, keys[n] if keys else None, n if group else None)
            for n in range(count)
        ]
        self.handle(
            events.Submitted(
                self.at, self.ask(), SessionId(session.encode()), sequence, group, submissions
            )
        )

    def close_group(self, group: int, size: int, session: str = "s") -> None:
        id_ = SessionId(session.encode())
        self.handle(events.GroupClosed(self.at, self.ask(), id_, group, size))

    def cancel(self, *jobs: int, queued_only: bool = False, client: str | None = "local") -> None:
        """``client`` None: whosever they are, as in the next ones."""
        wanted = [JobId(job) for job in jobs]
        self.handle(events.CancelAsked(self.at, self.ask(), _client(client), wanted, queued_only))

    def retry(self, *jobs: int, client: str | None = "local") -> None:
        wanted = [JobId(job) for job in jobs]
        self.handle(events.RetryAsked(self.at, self.ask(), _client(client), wanted))

    def forget(self, *jobs: int, client: str | None = "local") -> None:
        wanted = [JobId(job) for job in jobs]
        self.handle(events.ForgetAsked(self.at, self.ask(), _client(client), wanted))

    def read(self, *jobs: int) -> None:
        self.handle(events.Read(self.at, [JobId(job) for job in jobs]))

    def watch(self, *jobs: int, session: str = "s", everyones: bool = False) -> None:
        """Jobs of the session's client, or whosever they are."""
        wanted, who = [JobId(job) for job in jobs], SessionId(session.encode())
        record = self.scheduler.state.sessions.get(who)
        client = None if everyones or record is None else record.client.id
        self.handle(events.WatchAsked(self.at, self.ask(), client, who, wanted))

    def acknowledge(self, *jobs: int, session: str = "s") -> None:
        wanted = [JobId(job) for job in jobs]
        self.handle(events.Acknowledged(self.at, SessionId(session.encode()), wanted))

    # -- workers ----------------------------------------------------------------------------------

    def join(
        self,
        name: str = "w",
        slots: int = 1,
        python: str = "3.11",
        held: Sequence[tuple[int, int]] = (),
        incarnation: str | None = None,
        local: bool = False,
    ) -> None:
        info = WorkerInfo(
            name=name,
            incarnation=(incarnation or name).encode().ljust(16),
            slots=slots,
            python=python,
            host="host",
            software="1",
        )
        holdings = [self.holding(*h) for h in held]
        self.handle(events.WorkerJoined(self.at, info, holdings, local))

    def lose(self, name: str = "w", goodbye: bool = False) -> None:
        self.handle(events.WorkerLeft(self.at, WorkerId(name), goodbye))

    @staticmethod
    def holding(job: int, number: int = 1) -> Holding:
        return Holding(JobId(job), Attempt(TERM, number))

    def current(self, job: int) -> Attempt:
        record = self.job(job)
        return (record.attempt if record else None) or Attempt(TERM, 1)

    def begin(self, *jobs: int, name: str = "w", number: int | None = None) -> None:
        begun = [
            Beginning(JobId(job), Attempt(TERM, number) if number else self.current(job), self.wall)
            for job in jobs
        ]
        self.handle(events.Begun(self.at, WorkerId(name), begun))

    def finish(
        self,
        *jobs: int,
        name: str = "w",
        ending: Ending = Ending.SUCCEEDED,
        number: int | None = None,
        began: bool = True,
        seconds: float = 0.001,
        body: bytes = b"",
        blobs: Sequence[Any] = (),
        again: bool = True,
    ) -> None:
        reports = [
            Report(
                JobId(job),
                Attempt(TERM, number) if number else self.current(job),
                ending,
                self.wall if began else None,
                seconds,
                body,
                tuple(blobs),
                again=again,
            )
            for job in jobs
        ]
        self.handle(events.Finished(self.at, WorkerId(name), reports))

    def give_back(self, *jobs: int, name: str = "w", number: int | None = None) -> None:
        back = [
            Holding(JobId(job), Attempt(TERM, number) if number else self.current(job))
            for job in jobs
        ]
        self.handle(events.Returned(self.at, WorkerId(name), back))

    # -- looking ----------------------------------------------------------------------------------

    def job(self, job: int) -> KeptJob | None:
        """What is known of a job, hot or cold."""
        record = self.scheduler.state.jobs.get(JobId(job))
        if record is not None:
            return kept_of(record)
        return None if self.disk is None else self.disk.rows.jobs.get(JobId(job))

    def story(self, job: int) -> list[tuple[str, str]]:
        """What happened to a job, without the times."""
        known = self.job(job)
        assert known is not None
        return [(what, detail) for _, what, detail in known.story]

    def state(self, job: int) -> str:
        record = self.job(job)
        return "forgotten" if record is None else STATE_NAMES[record.state]

    def outcome(self, job: int) -> Outcome:
        return unpack_outcome(self.bodies[job])


@pytest.fixture
def stages() -> Iterator[Callable[..., Stage]]:
    """Makes stages with settings; at the end each of their effects must have been asserted."""
    made: list[Stage] = []

    def make(**settings: Any) -> Stage:
        made.append(Stage(**settings))
        return made[-1]

    yield make
    for stage in made:
        assert stage.lines == [], "effects that nobody asserted"


@pytest.fixture
def stage(stages: Callable[..., Stage]) -> Stage:
    """A stage with one open session ``s`` of the client ``local``."""
    stage = stages()
    stage.open()
    stage.expect("opened s")
    return stage


@pytest.fixture(params=["memory", "disk"])
def either(request: pytest.FixtureRequest, stages: Callable[..., Stage]) -> Callable[..., Stage]:
    """Makes stages with an open session over each kind of store: the answers must be the same."""

    def make(**settings: Any) -> Stage:
        stage = stages(disk=Disk() if request.param == "disk" else None, **settings)
        stage.open()
        stage.ignore()
        return stage

    return make


@pytest.fixture
def durable(stages: Callable[..., Stage]) -> Stage:
    """A stage over a disk, with an open session."""
    stage = stages(disk=Disk())
    stage.open()
    stage.ignore()
    return stage


def _client(name: str | None) -> ClientId | None:
    return None if name is None else ClientId(name)
