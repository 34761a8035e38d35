"""A worker of real children, and a recorder in the coordinator's place."""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity.protocol.errors import NoSuchBlob
from ampacity.protocol.ids import Attempt, ClientId, JobId
from ampacity.protocol.jobs import Assignment, BlobRef, JobSpec, pack_spec
from ampacity.protocol.outcomes import Outcome, Report, unpack_log, unpack_outcome
from ampacity.protocol.packing import pack
from ampacity.protocol.ports import Ended, Holding
from ampacity.workers.ending import Grace
from ampacity.workers.slots import SlotPool
from twisted.internet import defer, reactor
from twisted.internet.task import deferLater

JOBS = Path(__file__).parent / "jobs"


class Recorder:
    """``ports.WorkerEvents``: keeps what it is told; tests wait for conditions on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reports: dict[int, Report] = {}
        self.count = 0
        self.beginnings: list[Any] = []
        self.given_back: list[Holding] = []
        self.printed: Counter[tuple[int, int]] = Counter()
        self.outputs: list[tuple[int, int, bytes]] = []
        self.blobs: dict[bytes, Path] = {}
        self.answer: Callable[[], Any] = lambda: defer.succeed(True)
        self.on_returned: Callable[[Any], None] = lambda attempts: None
        self._waiting: list[tuple[Callable[[], Any], Any]] = []

    def _changed(self) -> None:
        met = [w for w in self._waiting if w[0]()]
        self._waiting = [w for w in self._waiting if w not in met]
        for _, deferred in met:
            deferred.callback(None)

    async def until(self, condition: Callable[[], Any], timeout: float = 20) -> None:
        if not condition():
            deferred: Any = defer.Deferred()
            self._waiting.append((condition, deferred))
            await deferred.addTimeout(timeout, reactor)

    def begun(self, attempts: Any) -> None:
        self.beginnings += attempts
        self._changed()

    def finished(self, reports: Any) -> Any:
        for report in reports:
            assert report.job not in self.reports, "reported twice"
            self.reports[report.job] = report
        self._changed()
        return defer.succeed(None)

    def returned(self, attempts: Any) -> None:
        self.given_back += attempts
        self.on_returned(attempts)
        self._changed()

    def output(self, job: int, stream: int, offset: int, data: bytes) -> Any:
        assert offset >= self.printed[job, stream]
        self.printed[job, stream] = offset + len(data)
        self.outputs.append((job, stream, data))
        self._changed()
        return self.answer()

    def state(self, state: Any) -> None:
        pass

    def fetch(self, ref: BlobRef) -> Any:
        if ref.digest not in self.blobs:
            return defer.fail(NoSuchBlob())
        return defer.succeed(self.blobs[ref.digest])

    def store(self, ref: BlobRef, path: Path) -> Any:
        assert path.stat().st_size == ref.size
        assert hashlib.sha256(path.read_bytes()).digest() == ref.digest
        self.blobs[ref.digest] = path.rename(self.folder / ref.digest.hex())
        return defer.succeed(None)

    def keep(self, data: bytes) -> BlobRef:
        ref = BlobRef(hashlib.sha256(data).digest(), len(data))
        self.blobs[ref.digest] = self.folder / ref.digest.hex()
        self.blobs[ref.digest].write_bytes(data)
        return ref


class Worker:
    """A started pool of slots, its recorder, and short words for jobs."""

    def __init__(self, slots: int, folder: Path, **options: Any) -> None:
        options.setdefault("grace", Grace(interrupt=0.3, terminate=0.3))
        self.folder = folder
        self.pool = SlotPool(reactor, slots, folder / "pool", name="this-worker", **options)
        self.events = Recorder(folder)
        self.pool.bind(self.events)
        self._next = 0
        self._assigned: dict[int, Assignment] = {}
        self.stopped = False
        self.events.on_returned = self._again

    def _again(self, attempts: Any) -> None:
        """Assign again what is given back, as a coordinator would."""
        jobs = [self._assigned[held.job] for held in attempts if held.job in self._assigned]
        if jobs and not self.stopped:
            reactor.callLater(0, self.pool.assign, jobs)

    def stop(self, grace: float) -> Any:
        self.stopped = True
        return self.pool.stop(grace)

    def assignment(self, target: str, *args: Any, **options: Any) -> Assignment:
        self._next += 1
        client = options.pop("client", "local")
        payload = options.pop("payload", None)
        options.setdefault("kind", "import")
        if options["kind"] == "import" and ":" not in target:
            target = f"deeds:{target}"
        options.setdefault("cwd", str(JOBS))
        spec = pack_spec(JobSpec(target=target, **options))
        if payload is None:
            packed = pack(list(args)) if options["kind"] == "command" else None
            payload = packed or pickle.dumps((args, {}))
        return Assignment(JobId(self._next), Attempt(1, 1), spec, payload, ClientId(client))

    def submit(self, target: str, *args: Any, **options: Any) -> int:
        assignment = self.assignment(target, *args, **options)
        self.assign([assignment])
        return assignment.job

    def assign(self, assignments: list[Assignment]) -> None:
        """Assign these at once, and again whatever of them is given back."""
        self._assigned.update((assignment.job, assignment) for assignment in assignments)
        self.pool.assign(assignments)

    async def report(self, job: int, timeout: float = 20) -> Report:
        await self.events.until(lambda: job in self.events.reports, timeout)
        return self.events.reports[job]

    async def outcome(self, job: int, timeout: float = 20) -> Outcome:
        return unpack_outcome((await self.report(job, timeout)).body)

    async def value(self, job: int) -> Any:
        value = (await self.outcome(job)).value
        if isinstance(value, BlobRef):
            return pickle.loads(self.events.blobs[value.digest].read_bytes())
        assert value is not None
        return pickle.loads(value)

    async def run(self, target: str, *args: Any, **options: Any) -> Any:
        return await self.value(self.submit(target, *args, **options))

    async def log(self, job: int) -> Any:
        return unpack_log((await self.report(job)).log)

    def end(self, job: int, why: str = "cancelled") -> None:
        self.pool.end([Ended(JobId(job), Attempt(1, 1), why)])

    async def soon(self, condition: Callable[[], Any], seconds: float = 10) -> None:
        """Wait for something outside this process, which sends no event."""
        deadline = reactor.seconds() + seconds
        while not condition():
            assert reactor.seconds() < deadline, "it did not happen"
            await deferLater(reactor, 0.005, lambda: None)


@pytest_twisted.async_yield_fixture
async def make_worker(tmp_path: Path) -> Any:
    """A function that makes a worker; ``started=False`` leaves the start to the test."""
    made: list[Worker] = []

    async def make(slots: int = 1, started: bool = True, **options: Any) -> Worker:
        folder = tmp_path / f"worker-{len(made)}"
        folder.mkdir()
        worker = Worker(slots, folder, **options)
        made.append(worker)
        if started:
            await worker.pool.start()
        return worker

    yield make
    for worker in made:
        await worker.stop(0)


@pytest_twisted.async_yield_fixture
async def worker(make_worker: Any) -> Any:
    """A worker of one slot."""
    yield await make_worker()


@pytest.fixture
def mark_file(tmp_path: Path) -> Path:
    """A file that jobs write a letter to when they begin."""
    path = tmp_path / "marks"
    path.touch()
    return path
