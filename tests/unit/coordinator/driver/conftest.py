"""For the driver, a house: a clock, and clients and workers in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ampacity.coordinator.driver import Driver
from ampacity.coordinator.settings import Settings
from ampacity.coordinator.store import MemoryStore
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.ids import ClientId, JobId, SessionId
from ampacity.protocol.jobs import Assignment, JobSpec, Submission, pack_spec
from ampacity.protocol.outcomes import Delivery, Ending, JobLog, Report
from ampacity.protocol.ports import Beginning, Ended, Holding, WorkerInfo
from ampacity.protocol.tokens import Role
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure


def attempts(holdings: Sequence[Any]) -> str:
    return " ".join(
        f"{h.job}/{h.attempt.number}" + (f" {h.why}" if isinstance(h, Ended) else "")
        for h in holdings
    )


class ClientSide:
    """A client's port: keeps what it gets, and answers when it is told to."""

    def __init__(self, answers: bool = True) -> None:
        self.answers = answers
        self.frames: list[list[Delivery]] = []
        self.printed: list[tuple[int, int, int, bytes]] = []
        self.unanswered: list[Deferred[Any]] = []
        self.session: Any = None

    @property
    def jobs(self) -> list[int]:
        return [delivery.job for frame in self.frames for delivery in frame]

    def _answer(self, value: Any) -> Deferred[Any]:
        if self.answers:
            return succeed(value)
        answer: Deferred[Any] = Deferred()
        self.unanswered.append(answer)
        return answer

    def delivered(self, outcomes: Sequence[Delivery]) -> Deferred[None]:
        self.frames.append(list(outcomes))
        return self._answer(None)

    def output(self, job: JobId, stream: int, offset: int, data: bytes) -> Deferred[bool]:
        self.printed.append((job, stream, offset, data))
        return self._answer(True)


class WorkerSide:
    """A worker's port: keeps what it is told."""

    def __init__(self) -> None:
        self.frames: list[list[Assignment]] = []
        self.told: list[str] = []
        self.attached: list[tuple[int, bool, Deferred[JobLog]]] = []
        self.printed: Counter[tuple[int, int]] = Counter()
        self.events: Any = None

    @property
    def assigned(self) -> list[Assignment]:
        return [assignment for frame in self.frames for assignment in frame]

    def assign(self, assignments: Sequence[Assignment]) -> None:
        self.frames.append(list(assignments))

    def end(self, ended: Sequence[Ended]) -> None:
        self.told.append("end " + attempts(ended))

    def retract(self, holdings: Sequence[Holding]) -> None:
        self.told.append("retract " + attempts(holdings))

    def attach(self, job: JobId, follow: bool) -> Deferred[JobLog]:
        self.attached.append((job, follow, Deferred()))
        return self.attached[-1][2]

    def drain(self) -> None:
        self.told.append("drain")

    def reload(self) -> None:
        self.told.append("reload")

    def given_up(self) -> None:
        self.told.append("given up")

    def begin(self, *jobs: int) -> None:
        """A child has started these."""
        last = {a.job: a.attempt for a in self.assigned}
        self.events.begun([Beginning(JobId(job), last[JobId(job)], 1.0) for job in jobs])

    def finish(self, *jobs: int, **report: Any) -> Deferred[None]:
        """Report these jobs, by their last attempt."""
        last = {a.job: a.attempt for a in self.assigned}
        reports = [
            Report(
                JobId(job),
                last[JobId(job)],
                report.get("ending", Ending.SUCCEEDED),
                1.0,
                report.get("seconds", 0.001),
                report.get("body", b"body%d" % job),
                report.get("blobs", ()),
                report.get("log", b""),
            )
            for job in jobs
        ]
        done: Deferred[None] = self.events.finished(reports)
        return done


class DelayedStore(MemoryStore):
    """A store whose commits and reads end when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[tuple[list[Any], Deferred[None]]] = []

    def commit(self, writes: Sequence[Any]) -> Deferred[None]:  # type: ignore[override]
        done: Deferred[None] = Deferred()
        self.commits.append((list(writes), done))
        return done

    def outcomes(self, jobs: Sequence[JobId]) -> Deferred[Any]:  # type: ignore[override]
        return succeed(super().outcomes(jobs))

    def let_go(self) -> None:
        writes, done = self.commits.pop(0)
        super().commit(writes)
        done.callback(None)


class House:
    """A driver, its clock, and its peers."""

    def __init__(self, folder: Path, store: Any = None, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.blobs = BlobFolder(folder, execute)
        self.blobs.start()
        self.store = store
        self.driver = Driver(self.clock, self.blobs, Settings(**settings), store=store)
        self.driver.start()
        self.sequence = 0

    def turn(self, turns: int = 1) -> None:
        for _ in range(turns):
            self.clock.advance(0)

    def later(self, seconds: float) -> None:
        """Time passes; in one stride it would be taken for a pause of this process."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(0.5, end - self.clock.seconds()))

    def step(self, turns: int = 1) -> None:
        """The calls that are due now, and not those that they schedule."""
        for _ in range(turns):
            due = [call for call in self.clock.calls if call.getTime() <= self.clock.seconds()]
            for call in due:
                self.clock.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)

    @staticmethod
    def waits(deferred: Deferred[Any]) -> bool:
        """Whether it has no result yet, not even that of a Deferred inside."""
        return not deferred.called or bool(deferred.paused)

    def client(
        self,
        name: str = "s",
        client: str = "local",
        answers: bool = True,
        role: Role = "client",
    ) -> ClientSide:
        port = ClientSide(answers)
        port.session, self.sequence = self.driver.open_session(
            ClientId(client), SessionId(name.encode()), port, role
        )
        return port

    def worker(self, name: str = "w", slots: int = 1, held: Sequence[Holding] = ()) -> WorkerSide:
        port = WorkerSide()
        info = WorkerInfo(
            name=name,
            incarnation=name.encode(),
            slots=slots,
            python="3.11",
            host="host",
            software="1",
        )
        _, port.events, _ = self.driver.join(info, held, port)
        return port

    def submit(self, port: ClientSide, count: int = 1, payload: Any = b"", **spec: Any) -> Any:
        packed = pack_spec(JobSpec(**({"kind": "import", "target": "m:f"} | spec)))
        sequence, self.sequence = self.sequence, self.sequence + 1
        return port.session.submit(sequence, [Submission(packed, payload)] * count, None)

    def ask(self, port: ClientSide, question: str, **details: Any) -> Any:
        answer = port.session.query(question, details)
        for _ in range(100):
            self.turn()
        return self.now(answer)

    @staticmethod
    def now(deferred: Deferred[Any]) -> Any:
        """The result of a Deferred that has fired."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        assert results, "it has not fired"
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Makes drivers; at the end they are stopped, and leave no timer behind."""
    made: list[House] = []

    def make(**settings: Any) -> House:
        made.append(House(tmp_path / f"blobs{len(made)}", **settings))
        return made[-1]

    yield make
    for house in made:
        house.driver.scheduler.check_invariants()
        house.driver.stop()
        assert house.clock.getDelayedCalls() == []


@pytest.fixture
def delayed_store() -> DelayedStore:
    """A store whose commits wait for ``let_go``."""
    return DelayedStore()


@pytest.fixture
def house(houses: Callable[..., House]) -> House:
    """A driver with the default settings."""
    return houses()
