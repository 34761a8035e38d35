"""A door with a clock, and strangers who come, say anything, wait and leave.

What each of them has shown is kept, so that it is known who may be in.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from ampacity.coordinator.credentials import Credentials
from ampacity.coordinator.doorway import Doorway, Knock
from ampacity.coordinator.greeting import Greeting
from ampacity.protocol.access import StateFolder
from ampacity.protocol.connection import Connection
from ampacity.protocol.tokens import Role, Token
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols import amp
from twisted.python.failure import Failure

PLACES = 3
STEP = 0.25
"""Seconds that the clock goes at a time: one that goes in leaps has been stopped."""

Cast = tuple[bytes, ...]


class Core:
    """What a greeting asks of the coordinator."""

    store_id = b"store of 16 byte"
    term = 1


@attrs.define(eq=False)
class Shown:
    """A token that was made, and until when it is good."""

    token: Token
    use: str
    expires: float
    revoked: bool = False


class Wire(StringTransport):
    """What is sent while nobody reads stays in the socket."""

    protocol: Any

    def __init__(self) -> None:
        super().__init__()
        self._unread = b""
        self.ended = False

    def arrive(self, data: bytes) -> None:
        self._unread += data
        self.carry()

    def carry(self) -> None:
        while self._unread and self.connected and self.producerState == "producing":
            data, self._unread = self._unread[:700], self._unread[700:]
            self.protocol.dataReceived(data)

    def loseConnection(self) -> None:
        self._lost(ConnectionDone())

    def abortConnection(self) -> None:
        self._lost(ConnectionAborted())

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        assert self.connected
        super().write(data)

    def _lost(self, why: Exception) -> None:
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(why))


@attrs.define(eq=False)
class Stranger:
    """One who has come; ``role`` and ``good`` are what he has shown, in this order."""

    wire: Wire
    came: float
    open: bool
    """Whether he came over the UNIX socket, where nothing is asked for."""
    role: str | None = None
    good: Shown | None = None
    tried: bool = False
    garbled: bool = False
    """Whether he has sent what is no box: what comes after it is not understood."""
    admitted: tuple[str, str] | None = None
    connection: Connection | None = None

    @property
    def here(self) -> bool:
        return bool(self.wire.connected)


class Door:
    """The doorways of one service, with credentials in a folder of their own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.wall = 1e9
        self._folder = tempfile.TemporaryDirectory()
        self.credentials = Credentials(
            StateFolder(Path(self._folder.name) / "state"), lambda: self.wall
        )
        self.writing: list[Callable[[], None]] = []
        self.slow = False
        Deferred.fromCoroutine(self.credentials.start(self._defer))
        self.strangers: list[Stranger] = []
        self.doorways = {is_open: Doorway(self.clock, PLACES, line=6) for is_open in (True, False)}
        self._gates = {
            is_open: doorway.gate(self._greet_open if is_open else self._greet)
            for is_open, doorway in self.doorways.items()
        }
        self._by_connection: dict[Connection, Stranger] = {}
        self._knocking: Stranger | None = None
        self._by_knock: dict[Knock, Stranger] = {}

    # -- threads ----------------------------------------------------------------------------------

    def _defer(self, function: Any, *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()

        def work() -> None:
            try:
                result = function(*arguments)
            except Exception as e:
                fail(e).chainDeferred(done)
            else:
                done.callback(result)

        if self.slow:
            self.writing.append(work)
        else:
            work()
        return done

    def write_all(self) -> None:
        """The disk has taken what it was given."""
        while self.writing:
            self.writing.pop(0)()

    # -- tokens -----------------------------------------------------------------------------------

    def issue(self, role: Role, use: Any, lifetime: float | None) -> Shown:
        slow, self.slow = self.slow, False
        self.write_all()
        issued: list[Token] = []
        work = Deferred.fromCoroutine(self.credentials.issue(role, use, lifetime))
        work.addCallback(issued.append)
        self.slow = slow
        return Shown(issued[0], use, self.wall + (1e9 if lifetime is None else lifetime))

    def is_good(self, shown: Shown) -> bool:
        return not shown.revoked and self.wall < shown.expires

    def revoke(self, shown: Shown) -> None:
        if self.is_good(shown):
            shown.revoked = True
            Deferred.fromCoroutine(self.credentials.revoke(shown.token.id))

    # -- coming in --------------------------------------------------------------------------------

    def come(self, host: str, is_open: bool) -> Stranger:
        wire = Wire()
        stranger = Stranger(wire, self.clock.seconds(), is_open)
        self.strangers.append(stranger)
        knock = self._gates[is_open].buildProtocol(IPv4Address("TCP", host, 1))
        assert isinstance(knock, Knock)
        if is_open:
            knock.address = ""
        self._by_knock[knock] = stranger
        wire.protocol = knock
        knock.makeConnection(wire)
        self.turn()
        return stranger

    def _greet_open(self, knock: Knock) -> Connection:
        return self._greeting(knock, None)

    def _greet(self, knock: Knock) -> Connection:
        return self._greeting(knock, self.credentials)

    def _greeting(self, knock: Knock, credentials: Credentials | None) -> Connection:
        connection = Connection(clock=self.clock)
        stranger = self._by_knock[knock]
        stranger.connection = connection
        self._by_connection[connection] = stranger
        core: Any = Core()
        Greeting(connection, self.clock, core, self._admit, credentials, knock)
        return connection

    def _admit(self, connection: Connection, role: str, client: str) -> amp.CommandLocator:
        stranger = self._by_connection[connection]
        assert stranger.admitted is None, "let in twice"
        stranger.admitted = role, client
        return amp.CommandLocator()

    # -- time -------------------------------------------------------------------------------------

    def turn(self) -> None:
        """What the reactor does in a turn or two, without time."""
        for _ in range(3):
            self.clock.advance(0)
            for stranger in self.strangers:
                stranger.wire.carry()

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.clock.advance(STEP)
            self.wall += STEP
            self.turn()

    def close(self) -> None:
        self.slow = False
        self.write_all()
        for doorway in self.doorways.values():
            doorway.close()
        for stranger in self.strangers:
            if stranger.connection is not None:
                stranger.connection.abort()
            stranger.wire.abortConnection()
        self.turn()
        self._folder.cleanup()
