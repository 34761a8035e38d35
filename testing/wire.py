"""A network in memory: connections whose bytes are late, sliced, stalled, cut.

A stalled direction is a black hole for as long as it lasts: what is sent in it, the end of a
connection included, arrives when it is healed, as TCP sends it again. Who is killed has its
connections closed by its kernel; who loses its power says nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import attrs
from twisted.internet import error
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from .timeline import Machine, Process, Timeline

_CLOSED, _RESET = object(), object()
HIGH = 64 * 1024
"""Bytes on their way in one direction, from which on the sender is asked to wait."""
MOST = 64 * 1024
"""Bytes that one read brings."""
AGAIN = 1.0
"""Seconds after which a connection is asked for again where nothing answers."""


@attrs.define(eq=False)
class Way:
    """One direction between two machines."""

    seconds: float = 0.0005
    """The mean time of a message."""
    rate: float = 1e9
    """Bytes a second."""
    stalled: bool = False
    pipes: list[Pipe] = attrs.field(factory=list)


class Network:
    """All ways, and who listens."""

    def __init__(self, timeline: Timeline, random: Random) -> None:
        self.timeline = timeline
        self.random = random
        self.slices = 0.1
        """The chance that a read brings a part of what is there."""
        self._ways: dict[tuple[Machine, Machine], Way] = {}
        self._doors: dict[str, tuple[Process, Callable[[], Any]]] = {}
        self._door_machines: dict[str, Machine] = {}

    def way(self, source: Machine, target: Machine) -> Way:
        way = self._ways.get((source, target))
        if way is None:
            way = self._ways[source, target] = Way()
        return way

    def listen(self, path: str, process: Process, greet: Callable[[], Any]) -> None:
        """``greet`` makes the protocol of who comes."""
        self._doors[path] = (process, greet)
        self._door_machines[path] = process.machine

    # -- faults -----------------------------------------------------------------------------------

    def stall(self, source: Machine, target: Machine) -> None:
        """From here on nothing arrives in this direction."""
        self.way(source, target).stalled = True

    def heal(self, source: Machine, target: Machine) -> None:
        """What did not arrive is sent again."""
        way = self.way(source, target)
        way.stalled, way.seconds, way.rate = False, 0.0005, 1e9
        for pipe in list(way.pipes):
            pipe.go_on()

    def reset(self, one: Machine, other: Machine) -> int:
        """Cut all connections between two machines; how many."""
        pipes = list(self.way(one, other).pipes)
        for pipe in pipes:
            pipe.source.cut()
            pipe.target.cut()
        return len(pipes)

    # -- connecting -------------------------------------------------------------------------------

    def connect(self, process: Process, path: str, factory: Any) -> Dial:
        """As ``connectUNIX``."""
        dial = Dial(path)
        factory.doStart()
        factory.startedConnecting(dial)
        self.timeline.after(self.random.random() * 0.002, self._knock, process, dial, factory)
        return dial

    def _knock(self, process: Process, dial: Dial, factory: Any) -> None:
        if dial.stopped or not process.alive:
            return
        there = self._door_machines.get(dial.path)
        if there is not None and self._silent(process.machine, there):
            self.timeline.after(AGAIN, self._knock, process, dial, factory)
            return
        door = self._doors.get(dial.path)
        if door is None or not door[0].alive:
            process.come(lambda: dial.refused(factory))
            return
        self._open(process, dial, factory, *door)

    def _silent(self, here: Machine, there: Machine) -> bool:
        return there.off or self.way(here, there).stalled or self.way(there, here).stalled

    def _open(
        self, here: Process, dial: Dial, factory: Any, there: Process, greet: Callable[[], Any]
    ) -> None:
        near, far = Transport(self, here, there.machine), Transport(self, there, here.machine)
        near.meet(far)
        far.meet(near)

        def accept() -> None:
            if not far.closed:
                far.begin(greet())

        def connected() -> None:
            if dial.stopped:
                near.abortConnection()
            elif not near.closed:
                near.begin(factory.buildProtocol(None))

        there.come(accept)
        here.come(connected)


@attrs.define(eq=False)
class Dial:
    """A connector."""

    path: str
    stopped: bool = False

    def getDestination(self) -> str:
        return self.path

    def stopConnecting(self) -> None:
        self.stopped = True

    def disconnect(self) -> None:
        self.stopped = True

    def refused(self, factory: Any) -> None:
        if not self.stopped:
            factory.clientConnectionFailed(self, Failure(error.ConnectionRefusedError()))


class Transport:
    """One end of a connection."""

    def __init__(self, network: Network, process: Process, there: Machine) -> None:
        self.network = network
        self.process = process
        self.there = there
        self.protocol: Any = None
        self.producer: Any = None
        self.disconnecting = False
        self.closed = False
        self.reading = True
        self.peer: Transport
        self.out: Pipe
        process.at_death.append(self._died)

    def meet(self, peer: Transport) -> None:
        self.peer = peer
        self.out = Pipe(self.network, self, peer)

    def begin(self, protocol: Any) -> None:
        """The process sees the connection."""
        self.protocol = protocol
        protocol.makeConnection(self)
        self.peer.out.go_on()

    # -- for the protocol -------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if data and not (self.closed or self.disconnecting):
            self.out.send(data)

    def writeSequence(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def loseConnection(self) -> None:
        if not (self.closed or self.disconnecting):
            self.disconnecting = True
            self.out.send(_CLOSED)
            self.process.callLater(0, self._end, ConnectionDone())

    def abortConnection(self) -> None:
        if not self.closed:
            self.disconnecting = True
            self.out.drop()
            self.out.send(_RESET)
            self.process.callLater(0, self._end, ConnectionAborted())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        if not self.reading:
            self.reading = True
            self.process.callLater(0, self.peer.out.go_on)

    def getPeer(self) -> Machine:
        return self.there

    def getHost(self) -> Machine:
        return self.process.machine

    # -- the end ----------------------------------------------------------------------------------

    def _end(self, reason: Exception) -> None:
        if not self.closed:
            self._close()
            if self.protocol is not None:
                self.protocol.connectionLost(Failure(reason))

    def _close(self) -> None:
        self.closed = True
        self.producer = None
        self.out.forget_if_empty()
        if self._died in self.process.at_death:
            self.process.at_death.remove(self._died)

    def came(self, what: Any) -> None:
        """Bytes, or the end, that the peer has sent."""
        if self.closed:
            return
        if what is _CLOSED:
            self._end(ConnectionDone())
        elif what is _RESET:
            self._end(ConnectionLost())
        elif not self.disconnecting:
            self.protocol.dataReceived(what)

    def cut(self) -> None:
        """The connection is reset by what lies between."""
        self.out.drop()
        if not self.closed:
            self.process.come(lambda: self._end(ConnectionLost()))

    def _died(self) -> None:
        self.closed = True
        if not self.process.machine.off:
            self.out.send(_CLOSED)


class Pipe:
    """The bytes of a connection in one direction."""

    def __init__(self, network: Network, source: Transport, target: Transport) -> None:
        self.network = network
        self.source = source
        self.target = target
        self.size = 0
        self._items: deque[tuple[float, Any]] = deque()
        self._last = 0.0
        self._due: Any = None
        self._way = network.way(source.process.machine, target.process.machine)
        self._way.pipes.append(self)

    def send(self, what: Any) -> None:
        way, now = self._way, self.network.timeline.now
        size = len(what) if isinstance(what, bytes) else 0
        start = max(now, self._last) if way.rate < 1e9 else now
        arrival = start + way.seconds * (0.5 + self.network.random.random()) + size / way.rate
        self._last = max(self._last, arrival)
        self._items.append((self._last, what))
        self.size += size
        if self.size > HIGH and self.source.producer is not None:
            self.source.producer.pauseProducing()
        self._schedule()

    def drop(self) -> None:
        self._items.clear()
        self.size = 0

    def go_on(self) -> None:
        """Something that held it up may be gone."""
        self._schedule()

    def forget_if_empty(self) -> None:
        """Both ends are gone, or nothing more comes."""
        if self.target.closed and self in self._way.pipes:
            self._way.pipes.remove(self)
        peer = self.target.out
        if self.target.closed and peer in peer._way.pipes:
            peer._way.pipes.remove(peer)

    def _schedule(self) -> None:
        if self._due is None and self._items and not self._way.stalled:
            seconds = max(0.0, self._items[0][0] - self.network.timeline.now)
            self._due = self.network.timeline.after(seconds, self._arrive)

    def _arrive(self) -> None:
        self._due = None
        if self._way.stalled or not self._items:
            return
        target = self.target
        machine = target.process.machine
        if machine.off:
            self.drop()
        elif target.closed:
            self._bounce()
        elif target.process.paused:
            target.process.come(self.go_on)
        elif self._items[0][1] is _RESET:
            self._items.popleft()
            target.came(_RESET)
        elif target.protocol is not None and target.reading:
            self._bring(target)
        self._schedule_rest()

    def _schedule_rest(self) -> None:
        target = self.target
        reads = target.protocol is not None and target.reading and not target.process.paused
        if self._items and reads:
            self._schedule()

    def _bring(self, target: Transport) -> None:
        """One read: what has arrived, or a part of it."""
        what = self._items[0][1]
        if not isinstance(what, bytes):
            self._items.popleft()
            target.came(what)
            return
        now, parts, size = self.network.timeline.now, [], 0
        while self._items and self._items[0][0] <= now and isinstance(self._items[0][1], bytes):
            parts.append(self._items.popleft()[1])
            size += len(parts[-1])
            if size >= MOST:
                break
        data = b"".join(parts)
        random = self.network.random
        if len(data) > 1 and random.random() < self.network.slices:
            place = random.randrange(1, len(data))
            rest, data = data[place:], data[:place]
            self._items.appendleft((now + self._way.seconds * random.random(), rest))
        self.size -= len(data)
        producer = self.source.producer
        if producer is not None and self.size <= HIGH // 2 and self.source.process.alive:
            self.source.process.come(producer.resumeProducing)
        target.came(data)

    def _bounce(self) -> None:
        """Nobody is there any more: the kernel answers with a reset."""
        had_bytes = any(isinstance(what, bytes) for _, what in self._items)
        self.drop()
        if had_bytes and not self.source.closed:
            peer = self.target.out
            peer.drop()
            peer.send(_RESET)
