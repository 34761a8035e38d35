"""The driver: runs the scheduler's effects and reads the clocks; nothing else here does.

What happens in one turn of the reactor is committed together (``Commits``) and told after that.
What goes to one worker or one session in a turn goes in frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.blobs import BlobFolder
from ..protocol.collecting import collect_now
from ..protocol.departures import Departures
from ..protocol.errors import Disconnected, StorageFull
from ..protocol.ids import ClientId, JobId, SessionId, WorkerId
from ..protocol.jobs import Assignment
from ..protocol.ports import ClientPort, Coordinator, Holding, WorkerEvents, WorkerInfo, WorkerPort
from ..protocol.tokens import Role
from . import effects
from .acknowledgements import Acknowledgements
from .asks import Asks
from .bindings import BoundSession, BoundWorker
from .blob_references import BlobReferences
from .commits import Batch, Commits
from .effects import Effect
from .events import (
    Acknowledged,
    Event,
    Loaded,
    Restored,
    RetryAsked,
    SessionLeft,
    SessionOpened,
    Submitted,
    WorkerJoined,
    WorkerLeft,
)
from .kept import Found, Stored
from .listeners import Listeners
from .loads import Loads
from .outbox import Outbox, Recent
from .ownership import Ownership
from .questions import Questions
from .records import WorkerRecord
from .scheduler import Scheduler
from .settings import Settings
from .store import DurableStore, MemoryStore, Store
from .sweeping import Sweeping
from .timekeeping import Timekeeping
from .transitions import ending_of
from .uploads import Uploads

if TYPE_CHECKING:
    from ..loopwatch import LagMeter

_ASSIGN, _END, _RETRACT = attrgetter("assign"), attrgetter("end"), attrgetter("retract")

FEW_JOBS = 10_000
"""Jobs in memory, below which it takes little time to look for garbage in all of it."""


class Driver:
    """The coordinator without its wires: ``ports.CoordinatorCore``."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        blobs: BlobFolder,
        settings: Settings | None = None,
        lag: LagMeter | None = None,
        store: Store | None = None,
    ) -> None:
        self.blobs = blobs
        self.settings = settings = settings or Settings()
        self.store: Store = store or MemoryStore()
        self.durable = cast(DurableStore, self.store) if self.store.durable else None
        """The store, where it is on disk."""
        self.store_id, self.term = self.store.id, self.store.term
        self.scheduler = Scheduler(settings, self.term, self.store.durable)
        self.on_shutdown: Callable[[], None] | None = None
        self.on_broken: Callable[[Failure], None] | None = None
        """Called when the store can be relied upon no more: this process has to end."""
        blobs.on_broken = lambda error: self._broken(Failure(error))
        self.listening: list[str] = []
        self.workers: dict[WorkerId, BoundWorker] = {}
        self.sessions: dict[SessionId, BoundSession] = {}
        self._reactor = reactor
        self._time = Timekeeping(reactor, self.handle, lambda: self.scheduler.wake, self._beat)
        self.moment = self._time.moment
        self._departures = Departures.of(reactor)
        taken = self._taken = Acknowledgements(reactor, self._have_taken, lambda: commits.arm())
        commits = Commits(reactor, self.store, taken.end_turn, self._tell, self._broken)
        self._commits = commits
        self._recent = Recent()
        self._loads = Loads(self.store, self._commits, self._loaded)
        self.uploads = Uploads(settings.client_uploads, settings.value_bytes)
        self.values = Ownership(self.scheduler.state.jobs, self.scheduler.state.workers)
        self._references = BlobReferences(
            blobs, settings, self.scheduler.state.spec, self.values, self.uploads
        )
        self.missing_blobs = self._references.missing
        self._sweeping = Sweeping(reactor, lambda: self._references.sweep(self.moment().now))
        self._asks = Asks()
        self._stopped = False
        self.listeners = Listeners(
            self.scheduler.state.jobs,
            self.scheduler.state.sessions,
            self._port_of,
            self._worker_port,
            self.outcome,
            self._flush,
        )
        self.questions = Questions(self, reactor, lag)
        self.stir: Callable[[], None] = lag.stir if lag is not None else lambda: None
        """Called at the begin of whatever may take long."""
        self._tellers = self._make_tellers()

    def start(self) -> None:
        """Take up what an earlier coordinator has left, and begin the work that comes by clock."""
        if self.durable is not None:
            remembered = self.durable.remembered
            self._references.restore(remembered.blobs)
            self.handle(Restored(self.moment(), remembered))
        self._sweeping.start()
        self._time.start()

    def stop(self) -> Deferred[None]:
        """Stop: what has come is stored, and not told. Fires when the store is closed."""
        if self._stopped:
            return succeed(None)
        self._taken.stop()
        self._stopped = True
        self._sweeping.stop()
        self._time.stop()
        self._loads.stop()
        self.questions.stop()
        stored = self._commits.stop()
        self._asks.stop()
        return stored.addCallback(lambda _: self.store.close())

    # -- events -----------------------------------------------------------------------------------

    def handle(self, event: Event) -> list[Effect]:
        """Let the scheduler take an event in; its effects are carried out at the turn's end."""
        if self._stopped:
            return []
        self.stir()
        done = self.scheduler.handle(event)
        if done:
            self._commits.add(done)
        return done

    def ask(self, event: Callable[[int], Event]) -> Deferred[Any]:
        """Handle an event that gets an answer, which comes after the commit."""
        if self._stopped:
            return fail(Disconnected("the coordinator has stopped"))
        number, answer = self._asks.begin()
        made = event(number)
        if isinstance(made, Submitted | RetryAsked) and (full := self.no_room()):
            self._asks.refuse(number, StorageFull(full))
            return answer
        if not isinstance(made, Submitted) or any(job.key for job in made.submissions):
            # who asks for an outcome again has it sent again only if the first is acknowledged
            self._taken.settle()
        try:
            self.handle(made)
        except Exception:  # noqa: BLE001 -- a mistake inside is the answer, with its story
            self._asks.refuse(number, Failure())
        return answer

    def committed(self) -> Deferred[None]:
        """Fires when everything up to now is committed."""
        if self._stopped:
            return fail(Disconnected("the coordinator has stopped"))
        return self._commits.committed()

    def stored(self) -> Deferred[None]:
        """The same, to read: fires at once where all is stored, or nothing can be."""
        at_once = self._commits.settled or self._commits.failing
        return succeed(None) if at_once else self.committed()

    def no_room(self) -> str:
        """Why nothing new can be stored now, or nothing."""
        if self._commits.failing:
            return f"nothing can be stored now: {self._commits.failing}"
        return self.store.room()

    def _broken(self, failure: Failure) -> None:
        """Nothing that is told from here on could be relied upon."""
        self._log.failure("the store is broken, this coordinator has to end", failure)
        if self.on_broken is not None:
            self._reactor.callLater(0, self.on_broken, failure)

    def _have_taken(self, session: SessionId, jobs: Sequence[JobId]) -> None:
        self.handle(Acknowledged(self.moment(), session, jobs))

    def _beat(self) -> None:
        self.questions.sample()
        if len(self.scheduler.state.jobs) < FEW_JOBS:
            collect_now()

    # -- telling ----------------------------------------------------------------------------------

    def _tell(self, batch: Batch) -> None:
        """Everything in the batch is true now. Acknowledgements, which can wait, come last."""
        with self._departures:
            try:
                self._tell_all(batch)
                self._departures.leave()
            finally:
                for done in batch.waiting:
                    done.callback(None)

    def _tell_all(self, batch: Batch) -> None:
        for worker, assignments in batch.assigned().items():  # before all else about the attempts
            self._carry_out(self._assign, worker, assignments)
        self._departures.leave()  # slots wait for them
        for write in batch.writes:
            if type(write) is effects.JobsEnded:
                self._ended(write.outcomes)
            elif type(write) is effects.Hold:
                self._references.hold(write.digests)
            elif type(write) is effects.Release:
                self._references.release(write.digests)
        for effect in batch.tells:
            self._carry_out(self._tellers[type(effect)], effect)
        delivered = (effect for effect in batch.tells if type(effect) is effects.Deliver)
        for session in dict.fromkeys(effect.session.id for effect in delivered):
            self._carry_out(self._flush, session)

    def _ended(self, outcomes: Sequence[effects.Outcome]) -> None:
        if self.durable is not None:
            for job, body, _ in outcomes:
                ending = ending_of(job.state)
                if job.owed and ending is not None:
                    self._recent.add(job.id, Stored(ending, body, b""))  # nobody is sent its log
        if self.listeners:
            self._carry_out(self.listeners.ended, outcomes)

    def _carry_out(self, tell: Callable[..., None], *arguments: Any) -> None:
        """One peer that cannot be told must not keep the others from it."""
        try:
            tell(*arguments)
        except Exception:  # noqa: BLE001 -- for that reason
            self._log.failure("could not tell {what}", what=arguments)

    def _make_tellers(self) -> dict[type, Callable[[Any], None]]:
        return {
            effects.Assign: lambda _: None,  # told before
            effects.Answer: lambda e: self._asks.answer(e.ask, e.value),
            effects.Refuse: lambda e: self._asks.refuse(e.ask, e.error),
            effects.End: lambda e: self._tell_worker(e.worker, _END, e.attempts),
            effects.Retract: lambda e: self._tell_worker(e.worker, _RETRACT, e.attempts),
            effects.Deliver: self._deliver,
            effects.Load: self._loads.add,
            effects.WakeAt: lambda e: self._time.wake_at(e.now),
            effects.MoreToDo: lambda _: self._time.go_on(),
            effects.Joined: lambda e: self.listeners.worker_back(e.worker),
            effects.Gone: self._worker_gone,
            effects.Opened: lambda _: None,  # told at once
            effects.Silent: lambda e: self.listeners.session_gone(e.session.id),
        }

    def _assign(self, worker: WorkerRecord, assignments: list[Assignment]) -> None:
        self._tell_worker(worker, _ASSIGN, assignments)
        if self.listeners:
            self.listeners.assigned(assignments)

    def _tell_worker(
        self, worker: WorkerRecord, order: Callable[[WorkerPort], Any], what: Sequence[Any]
    ) -> None:
        """Give an order; a worker that cannot be told of it is taken for one that has left."""
        port = self._worker_port(worker)
        if port is None:
            return
        try:
            order(port)(what)
        except Exception:  # noqa: BLE001 -- whatever it is, its attempts must not hang
            self._log.failure("could not tell {worker} what to do", worker=worker.name)
            self.leave(worker.name, port, goodbye=True)
            self._carry_out(port.given_up)

    def _deliver(self, effect: effects.Deliver) -> None:
        bound = self.sessions.get(effect.session.id)
        if bound is not None and bound.opening == effect.opening:
            self.values.show_ends(effect.session.client, effect.jobs)
            bound.outbox.add(effect.jobs)

    def _flush(self, session: SessionId) -> None:
        if (bound := self.sessions.get(session)) is not None:
            bound.outbox.flush()

    def _loaded(self, task: int, found: Found | None) -> None:
        self.handle(Loaded(self.moment(), task, found))

    # -- sessions ---------------------------------------------------------------------------------

    def open_session(
        self, client: ClientId, session: SessionId, port: ClientPort, role: Role = "client"
    ) -> tuple[Coordinator, int]:
        """Begin or take up a session; see ``ports.CoordinatorCore``.

        Raises:
            NotAllowed: the session is another client's.
        """
        if self._stopped:
            raise Disconnected("the coordinator has stopped")
        self._taken.settle()  # what an older connection of it has said counts
        self.handle(SessionOpened(self.moment(), client, session))
        record = self.scheduler.state.sessions[session]
        self._unbind(session)
        outbox = Outbox(
            port,
            self.store,
            self._recent,
            partial(self._taken.add, session),
            partial(self.listeners.told, session),
            record.foreign,
        )
        bound = self.sessions[session] = BoundSession(self, record, port, outbox, role)
        self.values.opened(client)
        if self.listeners:
            self._reactor.callLater(0, self.listeners.session_back, session)
        return bound, record.next_sequence

    def leave_session(self, session: SessionId, port: ClientPort, goodbye: bool) -> None:
        """A session's connection is gone; an old one that was replaced says nothing."""
        bound = self.sessions.get(session)
        if bound is not None and bound.port is port:
            self._taken.settle()  # what it has said before it left counts
            self._unbind(session)
            self.handle(SessionLeft(self.moment(), session, goodbye))

    def _unbind(self, session: SessionId) -> None:
        bound = self.sessions.pop(session, None)
        if bound is not None:
            bound.port = None
            bound.outbox.close()
            self.values.left(bound.record.client.id)

    def _port_of(self, session: SessionId) -> ClientPort | None:
        bound = self.sessions.get(session)
        return None if bound is None else bound.port

    # -- workers ----------------------------------------------------------------------------------

    def join(
        self, info: WorkerInfo, held: Sequence[Holding], port: WorkerPort, local: bool = False
    ) -> tuple[WorkerId, WorkerEvents, list[Holding]]:
        """A worker joins or returns; see ``ports.CoordinatorCore``."""
        if self._stopped:
            raise Disconnected("the coordinator has stopped")
        done = self.handle(WorkerJoined(self.moment(), info, held, local))
        joined = next(effect for effect in done if isinstance(effect, effects.Joined))
        record = joined.worker
        before = self.workers.get(record.name)
        bound = self.workers[record.name] = BoundWorker(self, record, port)
        if before is not None:
            before.port = None
            bound.load = before.load
        return record.name, bound, joined.drop

    def leave(self, worker: WorkerId, port: WorkerPort, goodbye: bool) -> None:
        """A worker's connection is gone; an old one that was replaced says nothing."""
        if (bound := self.workers.get(worker)) is not None and bound.port is port:
            bound.port = None
            self.handle(WorkerLeft(self.moment(), worker, goodbye))

    def _worker_gone(self, effect: effects.Gone) -> None:
        bound = self.workers.get(effect.worker.name)
        if bound is not None and bound.record is effect.worker:
            del self.workers[effect.worker.name]

    def _worker_port(self, worker: WorkerRecord) -> WorkerPort | None:
        bound = self.workers.get(worker.name)
        return bound.port if bound is not None and bound.record is worker else None

    def shut_down(self) -> None:
        """Somebody asks for the end of the coordinator: its owner decides."""
        if self.on_shutdown is not None:
            self._reactor.callLater(0, self.on_shutdown)

    def outcome(self, job: JobId) -> Deferred[Stored | None]:
        """What is stored of a job's end, once everything up to now is committed."""
        read = self.stored().addCallback(lambda _: self.store.outcomes([job]))
        return read.addCallback(lambda found: found[0])
