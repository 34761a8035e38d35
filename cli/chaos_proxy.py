"""A proxy on loopback that stands for a bad network between one peer and the coordinator."""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.python.failure import Failure

SLOW = 20_000
"""Bytes a second of a slow link."""
DELAY = 0.3
SLICE = 37
"""Bytes at a time of a sliced one, each in a turn of its own."""
_TURN = 0.01
_UNSENT = 1 << 20
"""Bytes that wait here before the sender is told to wait."""


class Weather:
    """What befalls the bytes of one direction. Times are the reactor's."""

    def __init__(self) -> None:
        self.silent = False
        self.delay = 0.0
        self.rate = 0.0
        """Bytes a second; 0: no bound."""
        self.sliced = False

    @property
    def fair(self) -> bool:
        return not (self.silent or self.delay or self.rate or self.sliced)

    @property
    def budget(self) -> int:
        """Bytes that go out at a time."""
        if self.sliced:
            return SLICE
        return max(1, int(self.rate * _TURN)) if self.rate else _UNSENT * 4

    @property
    def pause(self) -> float:
        """Seconds between two times."""
        return _TURN if self.rate else 0.0


class Lane:
    """One direction of one connection: what came in, and goes out when the weather lets it."""

    def __init__(self, proxy: Proxy, weather: Weather, source: End, target: End) -> None:
        self._proxy = proxy
        self._weather = weather
        self._source = source
        self._target = target
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._ending = False
        self._call: IDelayedCall | None = None
        proxy.lanes.add(self)

    def carry(self, data: bytes) -> None:
        if self._weather.fair and not self._waiting and self._target.transport is not None:
            self._target.transport.write(data)
            return
        self._waiting.append((self._proxy.reactor.seconds() + self._weather.delay, data))
        self._size += len(data)
        if self._size > _UNSENT and self._source.transport is not None:
            self._source.transport.pauseProducing()
        self.wake()

    def end(self) -> None:
        """The source has gone: so does the target, once it has what was sent before."""
        self._ending = True
        self.wake()

    def drop(self) -> None:
        """Nothing more comes through here."""
        self._proxy.lanes.discard(self)
        self._waiting.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def wake(self, seconds: float = 0.0) -> None:
        """Look at the weather again."""
        if self._call is None:
            self._call = self._proxy.reactor.callLater(seconds, self._pour)

    def _pour(self) -> None:
        self._call = None
        if self._weather.silent or self._target.transport is None:
            return  # the weather's change wakes us
        budget, now = self._weather.budget, self._proxy.reactor.seconds()
        while self._waiting and budget > 0 and self._waiting[0][0] <= now:
            at, data = self._waiting.popleft()
            part, rest = data[:budget], data[budget:]
            budget -= len(part)
            self._size -= len(part)
            self._target.transport.write(part)
            if rest:
                self._waiting.appendleft((at, rest))
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        if self._size <= _UNSENT and self._source.transport is not None:
            self._source.transport.resumeProducing()
        if self._waiting:
            self.wake(max(self._weather.pause, self._waiting[0][0] - now))
        elif self._ending:
            self._target.transport.loseConnection()


class End(Protocol):
    """One of a connection's two ends at the proxy."""

    transport: Any = None
    other: End | None = None
    lane: Lane | None = None
    """To the other end."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.orphan = False
        """Its other end was taken away, and nobody told it."""

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        if self.lane is not None and not self.orphan:
            self.lane.carry(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.transport = None
        self.proxy.ends.discard(self)
        if self.lane is not None:
            self.lane.drop() if self.orphan else self.lane.end()
        if self.other is not None and self.other.lane is not None:
            self.other.lane.drop()


class Near(End):
    """Towards the worker or client; it opens the way to the coordinator."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.proxy.ends.add(self)
        self.transport.pauseProducing()
        self.proxy.dial(self)

    def joined(self, far: End) -> None:
        if self.transport is None:
            far.transport.abortConnection()
            return
        proxy = self.proxy
        self.other, far.other = far, self
        self.lane = Lane(proxy, proxy.up, self, far)
        far.lane = Lane(proxy, proxy.down, far, self)
        proxy.ends.add(far)
        self.transport.resumeProducing()

    def refused(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()


class _Dialling(ClientFactory):
    """One connection to the coordinator, for one that came in."""

    noisy = False

    def __init__(self, near: Near) -> None:
        self.near = near

    def buildProtocol(self, addr: object) -> Protocol:
        return _Far(self.near)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self.near.refused()


class _Far(End):
    def __init__(self, near: Near) -> None:
        super().__init__(near.proxy)
        self._near = near

    def connectionMade(self) -> None:
        super().connectionMade()
        self._near.joined(self)


class Proxy(Factory):
    """The way of one peer to the coordinator."""

    noisy = False

    def __init__(self, reactor: Any, host: str, port: int) -> None:
        self.reactor = reactor
        self.up = Weather()
        self.down = Weather()
        self.ends: set[End] = set()
        self.lanes: set[Lane] = set()
        self._to = (host, port)
        self._listening: Any = None
        self.port = 0
        """Where the peer finds it."""

    def buildProtocol(self, addr: object) -> Protocol:
        return Near(self)

    def listen(self) -> int:
        """Open a port for the peer; its number."""
        self._listening = self.reactor.listenTCP(0, self, interface="127.0.0.1")
        self.port = int(self._listening.getHost().port)
        return self.port

    def dial(self, near: Near) -> None:
        if self.up.silent and self.down.silent:
            return  # a black hole answers nobody
        self.reactor.connectTCP(*self._to, _Dialling(near), timeout=5)

    # -- the weather ------------------------------------------------------------------------------

    def reset(self) -> None:
        """Both sides are told at once."""
        for end in [*self.ends]:
            if end.transport is not None:
                end.transport.abortConnection()

    def half_open(self) -> None:
        """The coordinator's side is gone, and the peer is not told."""
        for end in [*self.ends]:
            if isinstance(end, Near):
                end.orphan = True
                if end.other is not None and end.other.transport is not None:
                    end.other.orphan = True
                    end.other.transport.abortConnection()

    def forget_orphans(self) -> None:
        """The ends that were left over are closed."""
        for end in [*self.ends]:
            if end.orphan and end.transport is not None:
                end.transport.abortConnection()

    def change(self) -> None:
        """The weather has changed: what waits may go."""
        for lane in self.lanes:
            lane.wake()
        for end in [*self.ends]:
            if isinstance(end, Near) and end.transport is not None and end.other is None:
                end.transport.abortConnection()  # it came while nothing answered

    def clear(self) -> None:
        """Fair weather again."""
        for weather in (self.up, self.down):
            weather.silent = weather.sliced = False
            weather.delay = weather.rate = 0.0
        self.change()
        self.forget_orphans()

    async def close(self) -> None:
        self.reset()
        for lane in [*self.lanes]:
            lane.drop()
        if self._listening is not None:
            await self._listening.stopListening()
