"""Connections without sockets: one with a scripted peer, or two with a pump between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from ampacity.coordinator.uploads import Uploads
from ampacity.protocol.connection import Connection
from ampacity.protocol.errors import NoSuchBlob
from ampacity.protocol.fairness import FairGate
from ampacity.protocol.late import LATE_SECONDS
from ampacity.protocol.limits import BOX_BYTES, Caps
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols import amp
from twisted.python.failure import Failure


class MemoryTransport(StringTransport):
    """Keeps what is written; closing is reported at once."""

    def __init__(self) -> None:
        super().__init__()

    def taken(self) -> bytes:
        """What was written since the last time."""
        data: bytes = self.value()
        self.clear()
        return data

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
        boxes: list[amp.AmpBox] = amp.parseString(self.transport.taken())
        return boxes


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def peer_of(clock: Clock) -> Callable[..., Peer]:
    """A connection of ours with a scripted peer; admitted, unless told otherwise."""

    def make(
        locator: amp.CommandLocator | None = None, admitted: bool = True, caps: Caps | None = None
    ) -> Peer:
        connection = Connection(locator, clock, caps)
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
        if not fired:
            self.clock.advance(LATE_SECONDS)  # some answers wait for so long
            self.pump()
        assert fired, "no result yet"
        if isinstance(fired[0], Failure):
            fired[0].raiseException()
        return fired[0]


def _carry(sender: Peer, receiver: Peer) -> bool:
    data = sender.transport.taken()
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


# -- a core that only remembers -------------------------------------------------------------------


class RememberingCore:
    """``ports.CoordinatorCore`` and the ports that it binds: what came is in ``events``.

    What a call shall give is set in ``answers`` by the call's name: a value, an error, a Deferred.
    """

    store_id = b"store of 16 byte"
    term = 3
    uploads = Uploads(1 << 30, 1 << 30)

    def __init__(self) -> None:
        self.values = RememberedValues()
        self.events: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {}
        self.ports: list[Any] = []

    def _call(self, name: str, *arguments: Any) -> Any:
        self.events.append((name, *arguments))
        answer = self.answers.get(name)
        if isinstance(answer, Exception):
            return fail(answer)
        return answer if isinstance(answer, Deferred) else succeed(answer)

    def open_session(
        self, client: str, session: bytes, port: Any, role: str = "client"
    ) -> tuple[Any, int]:
        self.events.append(("open_session", client, session))
        self.ports.append(port)
        return self, 7

    def leave_session(self, session: bytes, port: Any, goodbye: bool) -> None:
        assert port is self.ports[-1]
        self.events.append(("leave_session", session, goodbye))

    def join(self, info: Any, held: Any, port: Any) -> tuple[str, Any, Any]:
        self.events.append(("join", info, held))
        self.ports.append(port)
        return "worker-1", self, self.answers.get("join", [])

    def leave(self, worker: str, port: Any, goodbye: bool) -> None:
        assert port is self.ports[-1]
        self.events.append(("leave", worker, goodbye))

    def no_room(self) -> str:
        return ""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: self._call(name, *arguments)


class RememberedValues:
    """``ports.ValueAccess``: known are who has sent what, and what workers may read."""

    def __init__(self) -> None:
        self.known: set[tuple[str, bytes]] = set()
        self.for_workers: set[bytes] = set()
        self.asked: list[bytes] = []

    def has_sent(self, client: str, digest: bytes) -> bool:
        return (client, digest) in self.known

    def sent(self, client: str, digest: bytes) -> None:
        self.known.add((client, digest))

    def may_read(self, client: str, digest: bytes) -> bool:
        return (client, digest) in self.known

    def worker_may_read(self, worker: str, digest: bytes) -> bool:
        self.asked.append(digest)
        return digest in self.for_workers


class RememberedBlobs:
    """A ``BlobFolder`` in memory."""

    def __init__(self) -> None:
        self.turns = FairGate(16, 8)
        self.parts: dict[bytes, bytes] = {}
        self.whole: dict[bytes, bytes] = {}

    def has(self, digest: bytes) -> bool:
        return digest in self.whole

    def drop_uploads(self, sender: Any) -> None:
        """Who begins a value anew writes over it."""

    def write(self, ref: Any, offset: int, data: bytes, sender: Any = None) -> Deferred[bool]:
        self.parts[ref.digest] = self.parts.get(ref.digest, b"") + data
        if len(self.parts[ref.digest]) == ref.size:
            self.whole[ref.digest] = self.parts.pop(ref.digest)
        return succeed(self.has(ref.digest))

    def read(self, digest: bytes, offset: int, size: int) -> Deferred[bytes]:
        if digest not in self.whole:
            return fail(NoSuchBlob())
        return succeed(self.whole[digest][offset : offset + size])


@pytest.fixture
def core() -> RememberingCore:
    return RememberingCore()


@pytest.fixture
def blobs() -> RememberedBlobs:
    return RememberedBlobs()


@pytest.fixture
def memory_transport() -> type[MemoryTransport]:
    """Makes transports without a protocol yet."""
    return MemoryTransport
