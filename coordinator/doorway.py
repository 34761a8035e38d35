"""The way from a port to the greeting: so many strangers at a time, the others wait unread.

Before a stranger has shown who he is, all that he can take is a socket and a place in the line.
Handshakes are worked at for a millisecond a turn of the reactor, so that hundreds who come at once
hold nobody up who is in already. See ``antechamber`` for whose turn it is.
"""

from __future__ import annotations

import ipaddress
import os
import resource
import socket
from collections.abc import Callable
from typing import Any, Final

import attrs
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IFileDescriptorReceiver,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from ..protocol.connection import Connection
from ..protocol.steady import PAUSE, monotonic_of
from ..protocol.turns import Turn
from .antechamber import STEPS, Antechamber
from .suspects import Suspects

LOOK: Final = 0.05
"""Seconds between two looks at the line, while somebody waits."""

LINE: Final = 4096

_OTHER_FILES = 128
"""Descriptors that a coordinator needs besides those of its peers."""

Greet = Callable[["Knock"], Connection]
"""Makes a connection and its greeting; the greeting tells the knock what it came to."""


class Doorway:
    """One way in: the port, or ports, that share their places."""

    log = Logger()

    def __init__(self, clock: IReactorTime, places: int, line: int = LINE) -> None:
        self._clock = clock
        self._now = monotonic_of(clock)
        self._suspects = Suspects()
        self._guests: Antechamber[Knock] = Antechamber(places, line, self._suspects)
        self.turn = Turn(clock)
        """Apart from that of the peers who are in: neither takes the other's time."""
        self._going_on = False
        self._look: IDelayedCall | None = None
        self._due = 0.0
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many are in the line."""
        return self._guests.waiting

    @property
    def greeted(self) -> int:
        """How many have a place."""
        return self._guests.greeted

    def gate(self, greet: Greet, tls: TLSMemoryBIOFactory | None = None) -> Factory:
        """What is given to a port that leads here."""
        return _Gate(self, greet, tls)

    def close(self) -> None:
        """Nobody is let in any more, and who waits is sent away."""
        self._closed = True
        for guest in self._guests.line():
            guest.send_away()
        if self._look is not None and self._look.active():
            self._look.cancel()

    # -- what the guests tell ---------------------------------------------------------------------

    def knocked(self, guest: Knock) -> None:
        sent_away = self._guests.arrive(guest, guest.address, self._now())
        if sent_away is not None:
            sent_away.send_away()
        self.go_on()

    def forward(self, guest: Knock) -> None:
        """The guest has come a step forward."""
        self._guests.forward(guest, guest.address, self._now())

    def passed(self, guest: Knock) -> None:
        """The greeting was good."""
        self._suspects.succeeded(guest.address)
        self._left(guest)

    def gone(self, guest: Knock, failed: bool) -> None:
        """The connection has ended; ``failed`` by the guest's fault."""
        if failed and guest.address:
            self._suspects.failed(guest.address, self._now())
        self._left(guest)

    def _left(self, guest: Knock) -> None:
        self._guests.leave(guest, guest.address)
        if self._guests.waiting:
            self.go_on()

    # -- letting in -------------------------------------------------------------------------------

    def go_on(self) -> None:
        """Let in whom there is a place for; what a turn has no time for waits for the next."""
        if self._going_on or self._closed:
            return
        while self._guests.waiting:
            if self.turn.is_over():
                self._going_on = True
                self.turn.next(self._go_on_again, self)
                return
            guest = self._next()
            if guest is None:
                break
            guest.open()
        self._look_later()

    def _go_on_again(self) -> None:
        self._going_on = False
        self.go_on()

    def _next(self) -> Knock | None:
        now = self._now()
        guest = self._guests.admit(now, Knock.has_spoken)
        if guest is None and (oldest := self._guests.make_room(now)) is not None:
            oldest.send_away()
            guest = self._guests.admit(now, Knock.has_spoken)
        return guest

    def _look_later(self) -> None:
        if self._guests.waiting and (self._look is None or not self._look.active()):
            self._due = self._now() + LOOK
            self._look = self._clock.callLater(LOOK, self._look_again)

    def _look_again(self) -> None:
        late = self._now() - self._due
        if late > PAUSE:
            self._guests.stood_still(late)
        self.go_on()


@implementer(IFileDescriptorReceiver)
class Knock(Protocol):
    """A connection from its acceptance to the end of its greeting; then it is out of the way."""

    transport: Any

    def __init__(self, doorway: Doorway, gate: _Gate, address: str) -> None:
        self.address = address
        self._doorway = doorway
        self._gate = gate
        self._inner: Any = None
        self._connection: Connection | None = None
        self._held = b""
        self._steps = 0
        self._failed = self._passed = self._over = self._sent_away = False

    # -- what the doorway says --------------------------------------------------------------------

    def has_spoken(self) -> bool:
        """Whether bytes of his wait, or his end: looked at, not taken."""
        waiting: socket.socket | None = getattr(self.transport, "socket", None)
        if waiting is None:
            return True
        try:
            waiting.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass  # it is over, as reading it will tell
        return True

    def open(self) -> None:
        """There is a place: the handshake may begin, then the greeting."""
        self._connection = self._gate.greet(self)
        tls = self._gate.tls
        self._inner = self._connection if tls is None else tls.protocol(tls, self._connection)
        self._inner.makeConnection(self.transport)
        self.transport.resumeProducing()

    def send_away(self) -> None:
        """There is no place, or no more of it."""
        self._sent_away = True
        self.transport.abortConnection()

    # -- what the greeting says -------------------------------------------------------------------

    def pass_in(self) -> None:
        """He is known: from the next byte on, nothing stands in between."""
        if self._over:
            return
        self._passed = self._over = True
        if not self._held:
            self.transport.protocol = self._inner
        self._doorway.passed(self)

    def fail(self) -> None:
        """He has shown something wrong, or nothing."""
        self._failed = True

    # -- the transport ----------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self.transport.pauseProducing()
        self._doorway.knocked(self)

    def dataReceived(self, data: bytes) -> None:
        if self._steps < STEPS and not self._over:
            self._steps += 1
            self._doorway.forward(self)
        if self._held:
            self._held += data
        elif self._doorway.turn.is_over():
            self._held = data
            self.transport.pauseProducing()
            self._doorway.turn.next(self._go_on, self)
        else:
            self._inner.dataReceived(data)

    def _go_on(self) -> None:
        data, self._held = self._held, b""
        if not data or self._inner is None:
            return
        if self._passed:
            self.transport.protocol = self._inner
        self.transport.resumeProducing()
        self._inner.dataReceived(data)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """No command carries one: it is closed, not kept."""
        os.close(descriptor)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        inner, self._inner = self._inner, None
        held, self._held = self._held, b""
        if inner is not None:
            if held and self._passed:  # the connection is gone, what it brought is not
                inner.dataReceived(held)
            inner.connectionLost(reason)
        if not self._over:
            self._over = True
            self._doorway.gone(self, self._at_fault())

    def _at_fault(self) -> bool:
        """Whether he has said something wrong, or too little; not who just went again."""
        if self._sent_away or self._connection is None or self._connection.lost is None:
            return False
        why = self._connection.lost.check(ConnectionAborted, SSL.Error)
        return self._failed or why is not None


@attrs.define(eq=False)
class _Gate(Factory):
    """Makes a knock of each connection of one port."""

    doorway: Doorway
    greet: Greet
    tls: TLSMemoryBIOFactory | None
    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Knock:
        return Knock(self.doorway, self, address_of(addr))


def most_in_line() -> int:
    """How many may wait, so that descriptors are left for those who are in."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return LINE if most == resource.RLIM_INFINITY else max(64, min(LINE, most // 2 - _OTHER_FILES))


def address_of(peer: Any) -> str:
    """Where somebody comes from, as far as others may be told from him: of IPv6, the first half.
    Nothing for a local process."""
    host = getattr(peer, "host", None)
    if not isinstance(host, str):
        return ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
