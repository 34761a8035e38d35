"""The three kinds of processes, each the real thing over a reactor of virtual time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import attrs
from ampacity.client.remote import RemoteLink, Target
from ampacity.client.session import Session
from ampacity.client.tallies import GroupTally
from ampacity.coordinator.client_session import ClientSession
from ampacity.coordinator.driver import Driver
from ampacity.coordinator.events import Moment
from ampacity.coordinator.greeting import Greeting
from ampacity.coordinator.permissions import Permitted
from ampacity.coordinator.settings import Settings
from ampacity.coordinator.worker_session import WorkerSession
from ampacity.protocol.access import StateFolder
from ampacity.protocol.addresses import Address
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.connection import Connection
from ampacity.protocol.errors import TokenRefused
from ampacity.protocol.ids import ClientId, JobId, SessionId
from ampacity.protocol.tokens import ROLES, Role, Token
from ampacity.workers.agent import Agent
from twisted.internet.defer import maybeDeferred
from twisted.protocols import amp

from .history import History, Ticket
from .slots import VirtualSlots
from .timeline import Machine, Process
from .wire import Network
from .work import Script

_KEY = b"k" * 32


def token_of(role: Role, name: str) -> Token:
    """The credential of a client or a worker: its id is its name."""
    return Token(role, _KEY, name, hashlib.sha256(name.encode()).digest()[:16])


@attrs.frozen
class _Known:
    id: str
    role: Role
    use: str = "own"


class Everybody:
    """Credentials that let in whoever shows a token of ``token_of``."""

    def verify(self, name: str, secret: bytes) -> _Known:
        for role in ROLES:
            token = token_of(role, name)
            if token.secret == secret and name.startswith(role[0]):
                return _Known(name, role)
        raise TokenRefused


class QuietLag:
    """Nobody asks how late a virtual reactor is, and measuring costs 200 events a second."""

    interval = 1.0

    def start(self) -> None:
        """Measure nothing."""

    stop = reset = start

    def summary(self) -> dict[str, float]:
        return {"p50": 0.0, "p99": 0.0, "max": 0.0, "ticks": 0}


# -- the coordinator -------------------------------------------------------------------------------


class CoordinatorProcess:
    """A driver, and the door to it."""

    def __init__(
        self,
        process: Process,
        network: Network,
        door: Path,
        folder: Path,
        settings: Settings,
        store: Any,
    ) -> None:
        self.process = process
        self.store = store
        blobs = BlobFolder(folder / "values", maybeDeferred)
        blobs.start()
        self.driver = Driver(process, blobs, settings, store=store)
        self.driver.moment = self._moment  # a wall clock of its own
        self.driver.start()
        network.listen(str(door), process, self._greet)
        crash: Callable[[], None] | None = getattr(store, "crash", None)
        if crash is not None:
            process.at_death.append(crash)

    def _moment(self) -> Moment:
        return Moment(self.process.seconds(), self.process.machine.wall())

    def _greet(self) -> Connection:
        connection = Connection(clock=self.process)
        everybody: Any = Everybody()
        Greeting(connection, self.process, self.driver, self._admit, everybody)
        return connection

    def _admit(self, connection: Connection, role: Role, client: ClientId) -> amp.CommandLocator:
        """As ``CoordinatorService`` does."""
        connection.throttle()
        if role == "worker":
            return Permitted(role, WorkerSession(self.driver, self.driver.blobs, connection))
        session = ClientSession(self.driver, self.driver.blobs, connection, client, role)
        return Permitted(role, session)


# -- a worker --------------------------------------------------------------------------------------


class WorkerProcess:
    """An agent with virtual slots."""

    def __init__(
        self,
        process: Process,
        door: Path,
        folder: Path,
        slots: int,
        scripts: Sequence[Script],
        history: History,
        random: Random,
    ) -> None:
        self.process = process
        self.slots = VirtualSlots(process, slots, scripts, history, random, self.drain)
        lag: Any = QuietLag()
        self.agent = Agent(
            process,
            Address(path=door),
            self.slots,
            folder=folder / process.name,
            token=token_of("worker", process.machine.name),
            state=StateFolder(folder / "none"),
            grace=2.0,
            lag=lag,
            random=random,
            defer_to_thread=maybeDeferred,
        )
        self.agent.done.addErrback(self._ended, history)
        self.agent.startService()

    def _ended(self, failure: Any, history: History) -> None:
        history.wrong.append(f"{self.process.name} has ended: {failure.value!r}")

    def drain(self) -> None:
        """Leave in order."""
        self.agent.stopService()


# -- a client --------------------------------------------------------------------------------------


class ClientProcess:
    """A session that submits, waits, and is told."""

    def __init__(
        self, process: Process, door: Path, history: History, random: Random, store: int
    ) -> None:
        self.process = process
        self.tickets: list[Ticket] = []
        self._history = history
        self._store = store
        self.session = Session(process, maybeDeferred)
        self.session.id = SessionId(random.randbytes(16))
        target = Target(Address(path=door), token_of("client", process.machine.name))
        self.link = RemoteLink(process, target, 30.0)
        self.link._random = random  # type: ignore[assignment]  # not the system's
        self._open()
        process.at_death.append(self._died)

    def _open(self) -> None:
        """Until it works: a program that was told that nobody answers tries again."""
        self.link.open(self.session).addErrback(self._not_open)

    def _not_open(self, failure: Any) -> None:
        self._history.note(self.process.name, "cannot open:", failure.value)
        self.process.callLater(1.0, self._open)

    def submit(self, script: Script, tally: GroupTally | None = None, place: int = 0) -> None:
        ticket = self._ticket(script)
        self._history.note("submit", self.process.name, script.number)
        self.session.submit(
            ticket,
            script.packed(),
            script.payload,
            key=script.key,
            tally=tally,
            place=None if tally is None else place,
        )
        if script.cancel_after is not None:
            self.process.callLater(script.cancel_after, self._cancel, ticket)

    def submit_group(self, scripts: Sequence[Script]) -> None:
        """As ``map`` does."""
        tally = GroupTally(self.session.new_group_number())
        for place, script in enumerate(scripts):
            self.submit(script, tally, place)
        tally.close(self.session.requests)

    def expect(self, script: Script, job: JobId) -> None:
        """Wait for what an earlier life of this program has submitted."""
        ticket = self._ticket(script)
        ticket.id = job
        self._history.note("expect", self.process.name, job)
        self.session.expect(job, ticket)

    def _ticket(self, script: Script) -> Ticket:
        ticket = Ticket(self._history, self.process.name, script, self._store)
        self.tickets.append(ticket)
        self._history.tickets.append(ticket)
        return ticket

    def _cancel(self, ticket: Ticket) -> None:
        if not ticket.over:
            ticket.cancelled = True
            self._history.note("cancel", self.process.name, ticket.script.number, ticket.id)
            self.session.cancel(ticket).addBoth(
                lambda state: self._history.note("was", ticket.script.number, state)
            )

    # -- jobs that have ended ---------------------------------------------------------------------

    def _told(self, most: int) -> list[Ticket]:
        """Some of its jobs that have ended and that nobody else may be waiting for."""
        alone = [t for t in self.tickets if t.ending is not None and t.script.key is None]
        return [t for t in alone if not t.forgotten][:most]

    def retry(self, most: int) -> None:
        """Run some again, and wait for that."""
        by_id = {t.id: t.script for t in self._told(most) if t.id is not None}
        self._history.note("retry", self.process.name, list(by_id))
        self._history.retried.update(script.number for script in by_id.values())

        def again(ids: dict[int, int]) -> None:
            for old, new in sorted(ids.items()):
                self.expect(by_id[JobId(old)], JobId(new))

        asked = self.session.requests.call(lambda c: c.retry(list(by_id)), again=False)
        asked.addCallbacks(again, lambda _: None)

    def forget(self, most: int) -> None:
        """Give some up: nobody can read them any more."""
        jobs = []
        for ticket in self._told(most):
            ticket.forgotten = True
            if ticket.id is not None:
                jobs.append(ticket.id)
        self._history.note("forget", self.process.name, jobs)
        self.session.requests.call(lambda c: c.forget(jobs)).addErrback(lambda _: None)

    def read(self, ticket: Ticket, told: Callable[[Ticket, Any], None]) -> None:
        """Ask for the outcome of a job, as somebody who comes later would."""
        details = {"job": ticket.id}
        asked = self.session.requests.call(lambda c: c.query("result", details))
        asked.addBoth(lambda answer: told(ticket, answer))

    def waits(self) -> bool:
        return not all(ticket.over for ticket in self.tickets)

    def _died(self) -> None:
        for ticket in self.tickets:
            ticket.given_up = ticket.told == 0


def name_of(machine: Machine, life: int) -> str:
    """A process: its machine's name, and which of its lives this is."""
    return f"{machine.name}.{life}"
