"""The coordinator's doors: a UNIX socket for its user, and TLS with tokens where it was asked for.

It listens nowhere else. The driver behind it is started and stopped by whoever made it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from twisted.application.service import Service
from twisted.internet import threads
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    DeferredLock,
    maybeDeferred,
)
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.protocols.tls import TLSMemoryBIOFactory

from ..protocol.access import SOCKET_PATH_BYTES, AccessFolder
from ..protocol.addresses import DEFAULT_PORT, Address, Listen, parse_address, parse_listen
from ..protocol.connection import Connection
from ..protocol.errors import CannotStart, TooMany
from ..protocol.ids import ClientId
from ..protocol.ports import CoordinatorCore
from ..protocol.tls import ServerTLS
from ..protocol.tokens import SIDES, Role, Token
from .client_session import ClientSession
from .credentials import JOIN_LIFETIME, Credentials
from .desk import TokenDesk, use_of
from .doorway import Doorway, most_in_line
from .greeting import Greeting, Visit
from .guests import Guests
from .handouts import hand_out
from .permissions import Permitted
from .settings import Settings
from .worker_session import WorkerSession

if TYPE_CHECKING:
    from ..protocol.blobs import BlobFolder

_BACKLOG = 1024
_CLOSING_SECONDS = 2.0
EXPIRY_SECONDS = 2.0
"""Between two looks at what has expired, by the wall clock."""

RENEWAL_SECONDS = 6 * 3600.0
"""Between two looks at the end of the certificate."""


class Core(CoordinatorCore, Protocol):
    """What the service uses of the driver."""

    blobs: BlobFolder
    listening: list[str]


class CoordinatorService(Service):
    """Lets clients and workers in to a driver.

    ``ready`` fires when it listens everywhere, and fails with ``AlreadyRunning``,
    ``InsecureFolder`` or ``CannotStart``; then nothing is left open.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        driver: Core,
        access: AccessFolder,
        credentials: Credentials,
        listen: Sequence[str] = (),
        advertise: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        settings = settings or Settings()
        self.listening: list[str] = []
        self.ready: Deferred[None] = Deferred()
        self._reactor = reactor
        self._driver = driver
        self._access = access
        self._credentials = credentials
        self._listen = [parse_listen(text) for text in listen]
        self._advertise = None if advertise is None else parse_address(advertise)
        self._tokens: dict[Role, Token] = {}
        self._ports: list[IListeningPort] = []
        self._addresses: list[Address] = []
        self._connections: set[Connection] = set()
        self._guests = Guests(reactor, credentials.now)
        credentials.on_revoked(self._guests.dismiss)
        self._settings = settings
        places, line = settings.waiting_connections, most_in_line()
        # apart: strangers at a port do not keep this user's own commands out
        self._here = Doorway(reactor, places, line)
        self._elsewhere = Doorway(reactor, places, line)
        self._looks = [
            LoopingCall(credentials.expire),
            LoopingCall(self._renew_certificate),
        ]
        self._tls: ServerTLS | None = None
        self._locked = False
        self._opening: Deferred[None] | None = None
        self._one_close = DeferredLock()

    # -- starting ---------------------------------------------------------------------------------

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's own is untyped
        Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        self._opening = Deferred.fromCoroutine(self._open())
        try:
            await self._opening
        except CancelledError:
            await self._close()  # stopped before it was open: nobody is told of a failure
        except Exception as e:  # noqa: BLE001 -- told to whoever waits for ``ready``
            await self._close()
            self.ready.errback(e)
        else:
            self.ready.callback(None)

    async def _open(self) -> None:
        self._access.create()
        self._access.lock()
        self._locked = True
        self._open_socket()
        if self._listen:
            await self._credentials.start(self._defer_to_thread)
            self._tls = ServerTLS(self._credentials.key)
            for listen in self._listen:
                self._open_port(listen, self._tls)
            self._tokens = {
                role: await self._credentials.issue(
                    role, use_of(role), JOIN_LIFETIME, "made at the start"
                )
                for role in SIDES
            }
            self._look_after_credentials()
        self._driver.listening = self.listening

    def _open_socket(self) -> None:
        path = self._access.socket
        if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
            raise CannotStart(
                f"the path {path} is too long for a UNIX socket; name a shorter folder in "
                "AMPACITY_ACCESS"
            )
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # left by a process that is gone: we hold its lock
        gate = self._here.gate(partial(self.greet, None))
        port = self._reactor.listenUNIX(str(path), gate, _BACKLOG, mode=0o600)
        self._ports.append(port)
        self.listening.append(f"unix:{path}")

    def _open_port(self, listen: Listen, tls: ServerTLS) -> None:
        secure = TLSMemoryBIOFactory(tls, False, Factory(), self._reactor)
        secure.noisy = False
        gate = self._elsewhere.gate(partial(self.greet, self._credentials), secure)
        try:
            port = self._reactor.listenTCP(listen.port, gate, _BACKLOG, interface=listen.interface)
        except CannotListenError as e:
            where = f"{listen.interface}:{listen.port}"
            raise CannotStart(f"cannot listen on {where}: {e.socketError}") from None
        self._ports.append(port)
        address = Address(listen.interface or "0.0.0.0", port.getHost().port)  # noqa: S104 -- shown
        self._addresses.append(address)
        self.listening.append(f"tcp:{address}")

    def _defer_to_thread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        pool = self._reactor.getThreadPool()
        return threads.deferToThreadPool(self._reactor, pool, function, *arguments)

    async def hand_out(self, role: Role, path: Path) -> None:
        """Leave a line to join with in a file, for who shares a volume with us."""
        await hand_out(self._credentials, role, self._reachable(), path, self._defer_to_thread)

    def join_line(self, role: Role) -> str:
        """What to paste elsewhere to join or to submit: ``host:8786#TOKEN``. Secret."""
        assert self._addresses, "nothing listens that could be joined"
        return self._line(self._tokens[role])

    def _reachable(self) -> Address:
        """Where others find the first port: as advertised, or by this machine's name."""
        address = self._addresses[0]
        if self._advertise is not None:
            given = self._advertise
            return given if given.port != DEFAULT_PORT else attrs.evolve(given, port=address.port)
        if address.host in ("0.0.0.0", "::"):  # noqa: S104 -- compared
            return attrs.evolve(address, host=socket.gethostname())
        return address

    # -- connections ------------------------------------------------------------------------------

    def greet(self, credentials: Credentials | None, visit: Visit) -> Connection:
        """A new connection, and what answers its first words."""
        connection = Connection(clock=self._reactor, caps=self._settings.caps(worker=False))
        self._connections.add(connection)
        connection.on_lost(lambda _: self._connections.discard(connection))
        Greeting(
            connection,
            self._reactor,
            self._driver,
            self._admit,
            credentials,
            visit,
            self._settings.greeting_seconds,
        )
        return connection

    def _admit(self, connection: Connection, role: Role, client: ClientId) -> amp.CommandLocator:
        self._check_room(client)
        self.log.info(
            "{client} came in as {role}, {peer}", client=client, role=role, peer=connection.peer
        )
        connection.caps = self._settings.caps(worker=role == "worker")
        connection.owner = client
        connection.throttle()
        if role == "worker":
            return Permitted(role, self._admit_worker(connection, client))
        session = ClientSession(self._driver, self._driver.blobs, connection, client, role)
        self._guests.came(client, connection, session)
        desk = TokenDesk(self._credentials, self._guests, self._line, connection, client)
        return Permitted(role, session, desk)

    def _check_room(self, client: ClientId) -> None:
        """See that one credential does not take every connection there can be.

        Raises:
            TooMany: it has as many as it may.
        """
        most = self._settings.connections(client)
        if self._guests.count(client) >= most:
            # Twisted's logger knows no "warning"
            self.log.warn("{client} has {most} connections", client=client, most=most)  # noqa: G010
            raise TooMany(f"there are {most} connections with this credential, the most it may")

    def _admit_worker(self, connection: Connection, client: ClientId) -> WorkerSession:
        session = WorkerSession(self._driver, self._driver.blobs, connection)
        session.on_joined = partial(self._credentials.name, client)
        self._guests.came(client, connection, session)
        return session

    # -- credentials ------------------------------------------------------------------------------

    def _look_after_credentials(self) -> None:
        for look, seconds in zip(self._looks, (EXPIRY_SECONDS, RENEWAL_SECONDS), strict=True):
            look.clock = self._reactor
            look.start(seconds, now=False)

    async def _renew_certificate(self) -> None:
        try:
            if await self._credentials.renew_certificate() and self._tls is not None:
                self._tls.show(self._credentials.key)
        except OSError:
            self.log.failure("the renewed certificate could not be written")

    def _line(self, token: Token) -> str:
        return attrs.evolve(self._reachable(), token=token).line()

    # -- stopping ---------------------------------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        await self._close()

    async def _close(self) -> None:
        """Close ports and connections, then let go of the folder: the next one may come."""
        await self._one_close.run(lambda: Deferred.fromCoroutine(self._close_all()))

    async def _close_all(self) -> None:
        for look in self._looks:
            if look.running:
                look.stop()
        self._here.close()
        self._elsewhere.close()
        ports, self._ports = self._ports, []
        await DeferredList([maybeDeferred(port.stopListening) for port in ports])
        await self._close_connections()
        self.listening.clear()
        self._addresses.clear()
        if self._locked:
            self._locked = False
            self._access.socket.unlink(missing_ok=True)
            self._access.unlock()

    async def _close_connections(self) -> None:
        """Send what is waiting; whoever does not take it within a moment is cut off."""
        late = self._reactor.callLater(_CLOSING_SECONDS, self._cut_off)
        closed = [self._closed(connection) for connection in list(self._connections)]
        await DeferredList(closed)
        if late.active():
            late.cancel()

    def _closed(self, connection: Connection) -> Deferred[None]:
        gone: Deferred[None] = Deferred()
        connection.on_lost(lambda _: gone.callback(None))
        connection.close()
        return gone

    def _cut_off(self) -> None:
        for connection in list(self._connections):
            connection.abort()
