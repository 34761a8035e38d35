"""A played coordinator with its clients and workers: what each of them does, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ampacity.coordinator import effects, events
from ampacity.coordinator.settings import Settings
from ampacity.coordinator.transitions import ENDED
from ampacity.protocol.errors import QueueFull, StorageFull
from ampacity.protocol.ids import ClientId, JobId, WorkerId
from ampacity.protocol.jobs import Submission
from ampacity.protocol.outcomes import Ending, Report
from ampacity.protocol.ports import Beginning, Ended, Holding
from ampacity.testing.row_store import Disk
from ampacity.tests.properties.account import Account, Key, body_of
from ampacity.tests.properties.peers import Session, Worker
from ampacity.tests.properties.played_core import PlayedCore


class PlayedCluster:
    """``durable``: over a disk that survives ``restart``."""

    def __init__(self, settings: Settings, durable: bool) -> None:
        self.now = 1000.0
        self.settings = settings
        self.account = Account()
        self.disk = Disk() if durable else None
        self.asks = 0
        self.answers: dict[int, Any] = {}
        self.submits: dict[int, tuple[Session, int, int]] = {}
        self.wake: float | None = None
        self.sessions = {n: Session(n, ClientId(n[0])) for n in ("a1", "a2", "b1")}
        self.workers = {n: Worker(n, p) for n, p in (("v", "3.11"), ("w", "3.11"), ("x", "3.12"))}
        self.payloads = 0
        self.core = self._reign()

    @property
    def at(self) -> events.Moment:
        return events.Moment(self.now, self.now + 1e9)

    def _reign(self) -> PlayedCore:
        return PlayedCore(self.settings, self.disk, self._told, self.account.committed)

    def restart(self) -> None:
        """The coordinator dies with all that was not committed; another takes its place."""
        lazy = self.core.lazy
        for session in self.sessions.values():
            session.connected = False
        for worker in self.workers.values():
            worker.name = None
        self.submits.clear()
        self.wake = None
        self.core = self._reign()
        self.core.lazy = lazy
        self.core.restore(self.at)

    def _hurry(self, lazy: bool) -> None:
        """What was told at once is done: commits are as late as they were before."""
        self.core.lazy = lazy
        if not lazy:
            self.core.commit()

    def ask(self) -> int:
        self.asks += 1
        return self.asks

    # -- what is told -----------------------------------------------------------------------------

    def _told(self, effect: Any) -> None:
        match effect:
            case effects.Assign(worker, assignments):
                for a in assignments:
                    self._assigned(worker, (a.job, a.attempt))
            case effects.End(worker, attempts):
                for ended in attempts:
                    self._end(worker, ended)
            case effects.Deliver(record, jobs, opening):
                self._delivered(record, jobs, opening)
            case effects.Answer(ask, value):
                assert ask not in self.answers, "answered twice"
                self.answers[ask] = value
                self._accepted(ask, value)
            case effects.Refuse(ask, error):
                session, sequence, _ = self.submits.pop(ask, (None, 0, 0))
                self.answers[ask] = error
                if session is not None and isinstance(error, StorageFull | QueueFull):
                    session.frames.pop(sequence, None)
            case effects.WakeAt(now):
                self.wake = now

    def _connected(self, record: Any) -> Worker | None:
        for worker in self.workers.values():
            if worker.name == record.name and worker.info.incarnation == record.info.incarnation:
                return worker
        return None

    def _assigned(self, record: Any, key: Key) -> None:
        self.account.assigned(key)
        worker = self._connected(record)
        if worker is not None:
            worker.holds[key] = False

    def _end(self, record: Any, ended: Ended) -> None:
        worker = self._connected(record)
        if worker is not None and ended.why == "superseded":
            worker.drop((ended.job, ended.attempt))

    def _delivered(self, record: Any, jobs: Sequence[JobId], opening: int) -> None:
        for session in self.sessions.values():
            if session.id == record.id and session.connected and session.opening == opening:
                break
        else:
            return
        for job in jobs:
            assert self.account.ended[job] == 1, "delivered before its end"
            assert job not in session.owed, "delivered twice"
            assert not session.got[job] or job in session.asked, "delivered again"
            session.owed.add(job)

    def _accepted(self, ask: int, value: Any) -> None:
        session, sequence, connection = self.submits.pop(ask, (None, 0, 0))
        if session is None:
            return
        ids = [JobId(n) for first, count in value.ids for n in range(first, first + count)]
        assert all(job in self.account.accepted for job in ids), "accepted, and not stored"
        frame = session.frames.get(sequence)
        if frame is not None:
            assert len(ids) == len(frame[1])
            pairs = zip(ids, frame[1], strict=True)
            session.asked.update(job for job, submission in pairs if submission.key is not None)
        if connection == session.connections:  # elsewhere, nobody hears it
            session.frames.pop(sequence, None)

    # -- clients ----------------------------------------------------------------------------------

    def open(self, session: Session) -> None:
        if session.id not in self.core.scheduler.state.sessions:
            self.core.commit()  # which may be what tells that it is forgotten
        if session.id in self.account.sessions_forgotten:
            session.begin_anew()
        session.connected = True
        session.connections += 1
        session.owed.clear()
        lazy, self.core.lazy = self.core.lazy, True
        self.core.handle(events.SessionOpened(self.at, session.client, session.id))
        session.opening = self.core.scheduler.state.sessions[session.id].openings
        self._hurry(lazy)
        for sequence in sorted(session.frames):
            self.send(session, sequence)

    def leave(self, session: Session, goodbye: bool) -> None:
        session.connected = False
        session.owed.clear()
        self.core.handle(events.SessionLeft(self.at, session.id, goodbye))
        if goodbye:
            session.begin_anew()

    def submit(
        self, session: Session, spec: bytes, count: int, key: str | None, group: int | None
    ) -> int:
        frame = []
        for n in range(count):
            self.payloads += 1
            place = n if group is not None else None
            frame.append(Submission(spec, b"%d" % self.payloads, key if n == 0 else None, place))
        session.sequence += 1
        session.frames[session.sequence] = (group, frame)
        self.send(session, session.sequence)
        return session.sequence

    def send(self, session: Session, sequence: int) -> None:
        if sequence not in session.frames:
            return  # it was answered meanwhile
        group, frame = session.frames[sequence]
        ask = self.ask()
        self.submits[ask] = session, sequence, session.connections
        self.core.handle(events.Submitted(self.at, ask, session.id, sequence, group, frame))

    def acknowledge(self, session: Session, jobs: Sequence[JobId]) -> None:
        session.owed.difference_update(jobs)
        generation = session.generation

        def stored() -> None:
            if session.generation == generation:
                session.got.update(jobs)

        self.core.waiting.append(stored)
        self.core.handle(events.Acknowledged(self.at, session.id, jobs))

    def watch(self, session: Session, jobs: Sequence[JobId]) -> int:
        session.asked.update(jobs)
        ask = self.ask()
        self.core.handle(events.WatchAsked(self.at, ask, session.client, session.id, jobs))
        return ask

    # -- workers ----------------------------------------------------------------------------------

    def join(self, worker: Worker) -> None:
        worker.connections += 1
        held = [Holding(*key) for key in worker.holds if key not in worker.reports]
        lazy, self.core.lazy = self.core.lazy, True
        done = self.core.handle(events.WorkerJoined(self.at, worker.info, held))
        joined = next(effect for effect in done if isinstance(effect, effects.Joined))
        worker.name = joined.worker.name
        for job, attempt in joined.drop:
            worker.drop((job, attempt))
        self._hurry(lazy)
        self.report(worker, list(worker.reports.values()))

    def lose(self, worker: Worker, goodbye: bool) -> None:
        name, worker.name = worker.name, None
        assert name is not None
        self.core.handle(events.WorkerLeft(self.at, name, goodbye))

    def begin(self, worker: Worker, keys: Sequence[Key]) -> None:
        for key in keys:
            worker.holds[key] = True
        begun = [Beginning(job, attempt, self.at.wall) for job, attempt in keys]
        self.core.handle(events.Begun(self.at, self._name(worker), begun))

    def finish(self, worker: Worker, keys: Sequence[Key], ending: Ending, again: bool) -> None:
        reports = []
        for key in keys:
            began = self.at.wall if worker.holds[key] else None
            body = body_of(key)
            reports.append(Report(*key, ending, began, 0.01, body, again=again))
            worker.reports[key] = reports[-1]
        self.report(worker, reports)

    def report(self, worker: Worker, reports: Sequence[Report]) -> None:
        connection = worker.connections

        def stored() -> None:
            if worker.connections == connection:
                for report in reports:
                    worker.drop((report.job, report.attempt))

        self.core.waiting.append(stored)
        self.core.handle(events.Finished(self.at, self._name(worker), reports))

    def give_back(self, worker: Worker, keys: Sequence[Key]) -> None:
        for key in keys:
            worker.drop(key)
        back = [Holding(*key) for key in keys]
        self.core.handle(events.Returned(self.at, self._name(worker), back))

    @staticmethod
    def _name(worker: Worker) -> WorkerId:
        assert worker.name is not None
        return worker.name

    # -- time -------------------------------------------------------------------------------------

    def later(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(10_000):
            if self.wake is None or self.wake > end:
                break
            self.now = max(self.now, self.wake)
            self.wake = None
            self.core.handle(events.Tick(self.at))
            if self.wake is None:
                self.wake = self.core.scheduler.wake
        else:
            raise AssertionError("it ticks without end")
        self.now = end

    # -- the end ----------------------------------------------------------------------------------

    def finish_all(self) -> None:
        """With workers that work and clients that listen, everything ends, and is delivered."""
        self.core.lazy = False
        self.core.settle(self.at)
        for session in self.sessions.values():
            self.open(session)
        for worker in self.workers.values():
            if worker.name is None:
                self.join(worker)
        for _ in range(400):
            self.core.settle(self.at)
            for worker in self.workers.values():
                self.finish(worker, sorted(worker.holds), Ending.SUCCEEDED, False)
            for session in self.sessions.values():
                self.acknowledge(session, sorted(session.owed))
            self.core.settle(self.at)
            if not self.account.unfinished and not any(s.owed for s in self.sessions.values()):
                break
            self.later(1.0)
        self.core.settle(self.at)
        self.core.check_rows()
        left = self.account.unfinished
        assert not left, f"jobs that never ended: {left}"
        assert not sum(self.core.scheduler.state.counts[:ENDED])
        self._check_delivered()

    def _check_delivered(self) -> None:
        """Each session that is still the same has what was its own, unless that was given up."""
        accepted, forgotten = self.account.accepted, self.account.forgotten
        for session in self.sessions.values():
            own = {job for job, owner in accepted.items() if owner == session.id}
            missing = own - session.got.keys() - forgotten
            assert not missing, f"never delivered to {session.name}: {missing}"
