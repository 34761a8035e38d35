"""A coordinator and workers, each the real thing over a reactor of virtual time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import maybeDeferred
from twisted.protocols import amp

from ..coordinator.client_session import ClientSession
from ..coordinator.driver import Driver
from ..coordinator.events import Moment
from ..coordinator.greeting import Greeting
from ..coordinator.permissions import Permitted
from ..coordinator.settings import Settings
from ..coordinator.worker_session import WorkerSession
from ..protocol.access import StateFolder
from ..protocol.addresses import Address
from ..protocol.blobs import BlobFolder
from ..protocol.connection import Connection
from ..protocol.errors import TokenRefused
from ..protocol.ids import ClientId
from ..protocol.tokens import ROLES, Role, Token
from ..workers.agent import Agent
from .runs import Play
from .slots import VirtualSlots
from .timeline import Process
from .wire import Network

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
        """Who it is: the first letter of a name is that of its role."""
        for role in ROLES:
            if token_of(role, name).secret == secret and name.startswith(role[0]):
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


class QuietAgent(Agent):
    """How busy the machine is on which all this runs says nothing of a virtual one."""

    def _tell_state(self, load: Any) -> None:
        """Say nothing."""


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
        blobs = BlobFolder(folder / "values", maybeDeferred, durable=False)
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


class WorkerProcess:
    """An agent with virtual slots."""

    agent_class: type[Agent] = QuietAgent

    def __init__(
        self,
        process: Process,
        door: Path,
        folder: Path,
        slots: int,
        play: Play,
        random: Random,
        ended: Callable[[Any], object],
    ) -> None:
        """``ended`` is called with the failure of an agent that cannot go on."""
        self.process = process
        self.slots = VirtualSlots(process, slots, play, random, self.drain)
        lag: Any = QuietLag()
        self.agent = self.agent_class(
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
        self.agent.done.addErrback(ended)
        self.agent.startService()

    def drain(self) -> None:
        """Leave in order."""
        self.agent.stopService()


def name_of(process_of: str, life: int) -> str:
    """A process: its machine's name, and which of its lives this is."""
    return f"{process_of}.{life}"
