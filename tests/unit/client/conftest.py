"""A coordinator in memory that runs jobs in this process, when it is told to."""

from __future__ import annotations

import importlib
import pickle
import traceback
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from ampacity.client.session import Session
from ampacity.protocol import pace
from ampacity.protocol.ids import GroupId, JobId
from ampacity.protocol.jobs import BlobRef, unpack_spec
from ampacity.protocol.outcomes import Delivery, Ending, ErrorText, Outcome, pack_outcome
from ampacity.protocol.ports import Accepted
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock


class FakeCoordinator:
    """``ports.Coordinator``: accepts at once unless ``holding``; ``run`` runs what it has."""

    def __init__(self) -> None:
        self.frames: dict[int, Any] = {}
        self.queue: list[Any] = []
        self.blobs: dict[bytes, bytes] = {}
        self.cancelled: list[int] = []
        self.queued_only: list[int] = []
        self.watched: list[int] = []
        self.closed_groups: dict[int, int] = {}
        self.answers: dict[str, Any] = {}
        self.holding = False
        self.held: list[tuple[Deferred[Any], Any]] = []
        self.refuses: Exception | None = None
        self.port: Any = None
        self.next = 1
        self.sequences: list[int] = []
        self.folder: Any = None

    def submit(self, sequence: int, submissions: Any, group: int | None) -> Any:
        self.sequences.append(sequence)
        if self.refuses is not None and submissions:
            return fail(self.refuses)
        answer = self._accept(sequence, list(submissions), group)
        if self.holding:
            waiting: Deferred[Accepted] = Deferred()
            self.held.append((waiting, answer))
            return waiting
        return succeed(answer)

    def _accept(self, sequence: int, submissions: list[Any], group: int | None) -> Any:
        known = self.frames.get(sequence)
        if known is not None:
            return known
        needed = {ref.digest for job in submissions for ref in _refs(job)}
        if missing := needed - self.blobs.keys():
            return Accepted(missing=tuple(missing))
        first = self.next
        self.next += len(submissions)
        self.queue += [(first + place, job) for place, job in enumerate(submissions)]
        runs = ((first, len(submissions)),) if submissions else ()
        accepted = Accepted(ids=runs, group=None if group is None else GroupId(100 + group))
        self.frames[sequence] = accepted
        return accepted

    def answer_held(self) -> None:
        held, self.held = self.held, []
        for waiting, answer in held:
            waiting.callback(answer)

    def run(self, count: int | None = None) -> None:
        """Run jobs, first come first served, and deliver them together."""
        taken, self.queue = self.queue[:count], self.queue[len(self.queue[:count]) :]
        done = [self._run(number, job) for number, job in taken if number not in self.cancelled]
        self.port.delivered(done)

    def _run(self, number: JobId, job: Any) -> Delivery:
        spec = unpack_spec(job.spec)
        packed = job.payload
        if isinstance(packed, BlobRef):
            packed = self.blobs[packed.digest]
        args, kwargs = pickle.loads(packed)
        try:
            value = self._function(spec)(*args, **kwargs)
        except Exception as e:
            return Delivery(number, Ending.FAILED, pack_outcome(failed_outcome(e)))
        return Delivery(
            number, Ending.SUCCEEDED, pack_outcome(Outcome(value=pickle.dumps(value, 5)))
        )

    def _function(self, spec: Any) -> Any:
        if spec.kind == "value":
            return pickle.loads(self.blobs[spec.function.digest])
        module, _, name = spec.target.partition(":")
        return reduce(getattr, name.split("."), importlib.import_module(module))

    def end(self, job: Any, ending: Ending, outcome: Outcome) -> None:
        self.queue = [(number, one) for number, one in self.queue if number != job]
        self.port.delivered([Delivery(job, ending, pack_outcome(outcome))])

    def put_blob(self, ref: BlobRef, path: Path) -> Deferred[None]:
        self.blobs[ref.digest] = path.read_bytes()
        return succeed(None)

    def get_blob(self, ref: BlobRef) -> Deferred[Path]:
        path = self.folder / ref.digest.hex()
        path.write_bytes(self.blobs[ref.digest])
        return succeed(path)

    def cancel(self, jobs: Any, queued_only: bool = False) -> Deferred[dict[int, str]]:
        (self.queued_only if queued_only else self.cancelled).extend(jobs)
        queued = {number for number, _ in self.queue}
        self.queue = [(number, job) for number, job in self.queue if number not in jobs]
        ended = [Delivery(number, Ending.CANCELLED, b"") for number in jobs if number in queued]
        self.port.delivered(ended)
        return succeed({number: "queued" if number in queued else "running" for number in jobs})

    def watch(self, jobs: Any) -> Deferred[list[int]]:
        self.watched.extend(jobs)
        return succeed([number for number in jobs if number >= 1000])

    def close_group(self, group: int, size: int) -> Deferred[None]:
        self.closed_groups[group] = size
        return succeed(None)

    def query(self, question: str, details: dict[str, Any]) -> Deferred[Any]:
        answer = self.answers[question]
        return maybeDeferred(answer, details) if callable(answer) else succeed(answer)


def _refs(job: Any) -> list[BlobRef]:
    refs = list(unpack_spec(job.spec).blobs())
    return [*refs, job.payload] if isinstance(job.payload, BlobRef) else refs


def failed_outcome(error: Exception) -> Outcome:
    text = "".join(traceback.format_exception(error))
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    return Outcome(value=pickle.dumps(error, 5), error=ErrorText(name, str(error), text))


class Reactor(Clock):
    """A clock with as much of a reactor as a pool uses; threads are not."""

    running = False
    trigger: Any = ()

    def callWhenRunning(self, function: Any, *args: Any) -> None:
        function(*args)

    def addSystemEventTrigger(self, *trigger: Any) -> Any:
        self.trigger = trigger
        return trigger

    def removeSystemEventTrigger(self, trigger: Any) -> None:
        self.trigger = ()

    def turn(self, count: int = 30) -> None:
        """A few turns of the loop."""
        for _ in range(count):
            self.advance(0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests say by the turns of their clock what goes in one frame; ``test_pace`` looks at
    what else is waited for."""
    monkeypatch.setattr(pace, "GATHER", 0.0)


@pytest.fixture
def clock() -> Reactor:
    return Reactor()


@pytest.fixture
def coordinator(tmp_path: Path) -> Any:
    fake = FakeCoordinator()
    fake.folder = tmp_path
    return fake


@pytest.fixture
def session(clock: Reactor, coordinator: Any) -> Any:
    """A session that is connected already."""
    session = Session(clock, maybeDeferred)
    coordinator.port = session
    session.meet(b"s" * 16)
    session.connected(coordinator, 1)
    yield session
    session.close()


@pytest.fixture
def pool(clock: Reactor, coordinator: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A pool over the coordinator in memory."""
    from ampacity.client import engine
    from ampacity.client.pool import Pool

    class Link:
        local = True
        on_given_up: Any = None

        def open(self, session: Session) -> Deferred[None]:
            coordinator.port = session
            session.meet(b"s" * 16)
            session.connected(coordinator, 1)
            return succeed(None)

        def close(self) -> Deferred[None]:
            return succeed(None)

    monkeypatch.setattr(engine, "threads_of", lambda _reactor: maybeDeferred)
    pool = Pool._over(lambda _: Link(), clock)
    yield pool
    pool.close()
    clock.turn()
