"""Connections without sockets: one with a scripted peer, or two with a pump between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from ampacity.protocol.connection import Connection
from ampacity.protocol.limits import BOX_BYTES
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols import amp
from twisted.python.failure import Failure


class MemoryTransport(StringTransport):
    """Keeps what is written; closing is reported at once."""

    protocol: Connection
    aborting = False

    def loseConnection(self) -> None:
        self._lost(ConnectionDone())

    def abortConnection(self) -> None:
        self.aborting = True
        self._lost(ConnectionAborted())

    def _lost(self, reason: Exception) -> None:
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(reason))

    def unregisterProducer(self) -> None:
        self.producer = None


@attrs.define(eq=False)
class Peer:
    """The far end of a connection, played by a test."""

    connection: Connection
    transport: MemoryTransport
    _tags: int = 0

    @property
    def aborted(self) -> bool:
        return bool(self.transport.aborting)

    def send(self, box: dict[bytes, bytes]) -> None:
        self.connection.dataReceived(amp.AmpBox(box).serialize())

    def ask(self, command: bytes, **arguments: bytes) -> list[amp.AmpBox]:
        """Send a question; the boxes that come back at once."""
        self._tags += 1
        named = {name.encode(): value for name, value in arguments.items()}
        self.send({b"_command": command, b"_ask": b"%d" % self._tags, **named})
        return self.heard()

    def heard(self) -> list[amp.AmpBox]:
        """What was sent to the peer since the last time."""
        data = self.transport.value()
        self.transport.clear()
        return amp.parseString(data)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def peer_of(clock: Clock) -> Callable[..., Peer]:
    """A connection of ours with a scripted peer; admitted, unless told otherwise."""

    def make(locator: amp.CommandLocator | None = None, admitted: bool = True) -> Peer:
        connection = Connection(locator, clock)
        transport = MemoryTransport()
        transport.protocol = connection
        connection.makeConnection(transport)
        if admitted:
            connection.admit(locator or amp.CommandLocator())
        return Peer(connection, transport)

    return make


@attrs.define(eq=False)
class Pair:
    """Two connections; ``pump`` carries bytes until none are left."""

    here: Peer
    there: Peer
    clock: Clock

    def pump(self) -> None:
        moved = True
        while moved:
            self.clock.advance(0)
            moved = _carry(self.here, self.there) | _carry(self.there, self.here)

    def result(self, deferred: Any) -> Any:
        """What a Deferred gives once everything is carried."""
        fired: list[Any] = []
        deferred.addBoth(fired.append)
        self.pump()
        assert fired, "no result yet"
        if isinstance(fired[0], Failure):
            fired[0].raiseException()
        return fired[0]


def _carry(sender: Peer, receiver: Peer) -> bool:
    data = sender.transport.value()
    sender.transport.clear()
    assert len(data) <= 16 * BOX_BYTES
    if data and receiver.transport.connected:
        receiver.connection.dataReceived(data)
    elif not sender.transport.connected and receiver.transport.connected:
        receiver.transport.loseConnection()
        return True
    return bool(data)


@pytest.fixture
def pair_of(clock: Clock, peer_of: Callable[..., Peer]) -> Callable[..., Pair]:
    def make(here: amp.CommandLocator | None = None, there: Any = None) -> Pair:
        return Pair(peer_of(here), peer_of(there), clock)

    return make
