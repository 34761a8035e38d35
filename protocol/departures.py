"""What leaves over connections: what one piece of work writes goes together, and at once.

Twisted's transports keep what they are given until their reactor has looked whether the socket
takes it: one look more, and two changes of what it looks at, for each frame of a lone job. Here the
socket is tried first. What it does not take goes the usual way, and so does all that is written
outside of such a piece of work, or to a transport of another kind.

Some answers say no more than that something has arrived. Sent by itself, each would wake the peer
up for nothing; so they go with what is said next, in the same write, or after a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final
from weakref import WeakKeyDictionary, proxy

from twisted.internet import tcp
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from .errors import TooLarge
from .limits import BOX_BYTES

AT_ONCE: Final = 64 * 1024
"""Bytes of one connection that are held until the work is done: a transport that has more asks for
a pause, and more goes to it as it comes."""

LATE_ANSWERS: Final = 4
"""So many do not wait: a quarter of the frames that a peer sends before the first is answered."""

_WAITING = "_tempDataBuffer"
"""In a transport: what was written to it since its last look at the socket."""

Work = Callable[[], object]


class Departures:
    """Pieces of work of one reactor, ``with`` which its connections hold what they write."""

    __slots__ = ("__weakref__", "_depth", "_next", "_outlets", "clock")

    _log = Logger()

    def __init__(self, clock: IReactorTime | None) -> None:
        self.clock: IReactorTime | None = None if clock is None else proxy(clock)
        self._depth = 0
        self._next: list[Work] = []
        self._outlets: list[Outlet] = []

    @classmethod
    def of(cls, clock: IReactorTime | None) -> Departures:
        """Those of a reactor, which all of its connections share."""
        if clock is None:
            return cls(None)
        departures = _DEPARTURES.get(clock)
        if departures is None:
            departures = _DEPARTURES[clock] = cls(clock)
        return departures

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._outlets and not self.holding:
            self.leave()

    @property
    def holding(self) -> bool:
        """Whether work is being done, or is about to be, at whose end all leaves."""
        return bool(self._depth or self._next)

    def hold(self, outlet: Outlet) -> None:
        """This one has something to send at that end."""
        self._outlets.append(outlet)

    def later(self, seconds: float, work: Work) -> None:
        """Do this after so many seconds. With 0 it ends this turn of the reactor: what is written
        until then leaves with what it writes."""
        assert self.clock is not None
        if seconds > 0.0:
            self.clock.callLater(seconds, self._do, (work,))
            return
        self._next.append(work)
        if len(self._next) == 1:  # in the kit for tests, this call does it all
            self.clock.callLater(0, self._end_turn)

    def at_once(self, work: Work) -> None:
        """Do this now; what it writes does not wait for the end of anything else."""
        with self:
            work()
            self.leave()

    def _end_turn(self) -> None:
        work, self._next = self._next, []
        self._do(work)
        self.leave()  # even if there is more to be done in the next turn

    def _do(self, work: Iterable[Work]) -> None:
        with self:
            for one in work:
                try:
                    one()
                except Exception:  # noqa: BLE001 -- it does not keep the others from it
                    self._log.failure("what ends a turn of the reactor")

    def leave(self) -> None:
        """Send what was written up to now: what is still to be done is not urgent."""
        outlets, self._outlets = self._outlets, []
        for outlet in outlets:
            try:
                outlet.leave()
            except Exception:  # noqa: BLE001 -- for the same reason
                self._log.failure("could not write")


class Outlet:
    """What one connection has written and not handed to its transport."""

    __slots__ = ("_held", "_late", "_size", "_socket", "_timer", "_transport", "departures")

    def __init__(self, departures: Departures) -> None:
        self.departures = departures
        self._transport: Any = None
        self._socket = False
        self._held: list[bytes] = []
        self._size = 0
        self._late: list[bytes] = []
        self._timer: IDelayedCall | None = None

    def open(self, transport: Any) -> None:
        """Write to this transport."""
        self._transport = transport
        # those of UNIX sockets are, too; the attribute is Twisted's own, and may go one day
        self._socket = isinstance(transport, tcp.Connection) and hasattr(transport, _WAITING)

    def close(self) -> None:
        """Nothing can be written any more; what waits is dropped."""
        self._held, self._late = [], []
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def write(self, data: bytes, late: float = 0.0) -> None:
        """Send a box, after all that was written before. A short one that can be ``late`` waits
        for so many seconds, and goes with the next one that is sent.

        Raises:
            TooLarge: it is over the limit, and would end the connection over there.
        """
        size = len(data)
        if size > BOX_BYTES:
            raise TooLarge(f"a box of {size} bytes; the limit is {BOX_BYTES}")
        if late and not self._held and self._can_wait(data, late):
            return
        if self._late:
            self._hold_late()
        if size < AT_ONCE and self.departures.holding:
            self._hold(data, size)
            if self._size >= AT_ONCE:
                self.leave()
            return
        if self._held:
            data = b"".join([*self._held, data])
            self._held = []
        self._transport.write(data)

    def _can_wait(self, data: bytes, seconds: float) -> bool:
        clock = self.departures.clock
        if clock is None or len(self._late) >= LATE_ANSWERS - 1:
            return False
        self._late.append(data)
        if self._timer is None:
            self._timer = clock.callLater(seconds, self._due)
        return True

    def _due(self) -> None:
        self._timer = None
        self.leave()

    def _hold_late(self) -> None:
        """They are older than what is held: that is nothing."""
        late, self._late = self._late, []
        for data in late:
            self._hold(data, len(data))

    def _hold(self, data: bytes, size: int) -> None:
        if not self._held:
            self.departures.hold(self)
            self._size = 0
        self._held.append(data)
        self._size += size

    def leave(self) -> None:
        """Send what is held, now."""
        held = self._held
        if self._late:
            held += self._late
            self._late = []
        if not held:
            return
        self._held = []
        data = held[0] if len(held) == 1 else b"".join(held)
        if self._socket and _is_ready(self._transport):
            sent = self._transport.writeSomeData(data)
            # an error is met again by the reactor, which ends the connection when nobody is in it
            if type(sent) is int and sent > 0:
                if sent == len(data):
                    return
                data = data[sent:]
        self._transport.write(data)


def _is_ready(transport: Any) -> bool:
    """Whether nothing waits in it or is about to change, so that its socket can be written to."""
    return bool(
        transport.connected
        and not transport.dataBuffer
        and not getattr(transport, _WAITING)
        and not transport.disconnecting
        and not transport._writeDisconnecting
        and not transport.TLS  # begun on it later: this is no transport of the plain text
    )


_DEPARTURES: WeakKeyDictionary[IReactorTime, Departures] = WeakKeyDictionary()
