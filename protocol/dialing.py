"""Reaching a coordinator: connect, check its key, greet, show the token."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

from .access import SOCKET_PATH_BYTES, AccessFolder
from .addresses import Address, parse_address
from .commands import PROTOCOL_VERSIONS, Authenticate, Hello
from .connection import Connection
from .errors import Disconnected, NoCoordinator, TokenRefused, VersionMismatch
from .frames import jobs_in_a_frame
from .limits import LARGE_FRAME_JOBS
from .steady import patiently
from .tls import ClientTLS, check_key
from .tokens import Side, Token, parse_token, side_of

CONNECT_TIMEOUT = 5.0

WAITING_SECONDS = 20.0
"""How long a coordinator that has taken a connection may have it wait at its door."""


@attrs.frozen(kw_only=True)
class Greeted:
    """A coordinator that has let us in, and what it said of itself."""

    connection: Connection
    store: bytes
    """The identity of its store."""
    term: int
    client: str
    """Who we are to it."""
    software: str
    """Its version of ampacity."""
    version: int = PROTOCOL_VERSIONS[-1]
    """The version of the protocol that both sides speak."""
    credential: Token | None = None
    """For a worker that came with a join token: what to show from now on, to be kept."""


LONGER = 10
"""By how much an endpoint's own time-out is longer than ours, which knows of standstills."""


async def dial(
    reactor: Any,
    address: Address | str,
    role: Side,
    token: Token | None,
    locator: amp.CommandLocator,
    timeout: float = CONNECT_TIMEOUT,
    waiting: float = 0.0,
) -> Greeted:
    """Connect once, within ``timeout`` seconds, and answer with ``locator`` from then on.

    Without a token, the one in the address counts. ``waiting``: how much longer it may take once
    there is a connection, since a coordinator to which many come at once lets them in one by one.

    Raises:
        NoCoordinator: nobody answers there.
        WrongKey: somebody else than the token names answers; it was told nothing.
        TokenRefused: the token is not accepted, it is one for the other side, or there is none
            where one is needed.
        VersionMismatch: the two sides have no protocol version in common.
        InsecureFolder: others can reach the UNIX socket.
    """
    if isinstance(address, str):
        address = parse_address(address)
    token = token or address.token
    _check_side(role, token)
    endpoint = _endpoint(reactor, address, token, timeout * LONGER)
    connecting = partial(_connect, reactor, endpoint, timeout if waiting else None)
    attempt = Deferred.fromCoroutine(_attempt(connecting, role, token, locator))
    try:
        return await patiently(attempt, timeout + waiting, reactor)
    except ConnectingCancelledError:
        raise CancelledError from None
    except (ConnectError, DNSLookupError, Disconnected) as e:
        raise NoCoordinator(_unreachable(address, _reason(e))) from None
    except TimedOut:
        raise NoCoordinator(_unreachable(address, f"no answer within {timeout:g} s")) from None


@functools.cache
def software() -> str:
    """The version of ampacity that runs here; looked up on the disk once."""
    try:
        return version("ampacity")
    except PackageNotFoundError:  # pragma: no cover -- run from a checkout that is not installed
        return "unknown"


def _check_side(side: Side, token: Token | None) -> None:
    """See that a token is not one for the other side, before anybody is told of it.

    Raises:
        TokenRefused: with the line that makes the right one.
    """
    if token is None or side_of(token.role) == side:
        return
    if side == "worker":
        raise TokenRefused(
            f"this token is a {token.role}'s, and a worker joins with one of its own: "
            "ampacity token create --role worker, on the coordinator's machine, makes it"
        )
    raise TokenRefused(
        "this token is a worker's, which gives no jobs: ampacity token create --role client, on "
        "the coordinator's machine, makes one that does"
    )


def _endpoint(
    reactor: Any, address: Address, token: Token | None, timeout: float
) -> IStreamClientEndpoint:
    if address.path is not None:
        _check_socket(address)
        unix: IStreamClientEndpoint = UNIXClientEndpoint(reactor, str(address.path), timeout)
        return unix
    if token is None:
        raise TokenRefused(
            f"{address} is reached over the network and needs a token; paste the line that the "
            "coordinator printed, or name a file with it"
        )
    plain = HostnameEndpoint(reactor, address.host, address.port, timeout)
    secure: IStreamClientEndpoint = wrapClientTLS(ClientTLS(), plain)
    return secure


def _check_socket(address: Address) -> None:
    assert address.path is not None
    if len(os.fsencode(address.path)) > SOCKET_PATH_BYTES:
        raise NoCoordinator(_unreachable(address, "this path is too long for a UNIX socket"))
    try:
        AccessFolder(address.path.parent).check()
    except FileNotFoundError:
        raise NoCoordinator(_unreachable(address, "there is no such folder")) from None


def _unreachable(address: Address, why: str) -> str:
    hint = (
        "start one with: ampacity up"
        if address.path is not None
        else "see that it runs and that this machine may reach that port"
    )
    return f"no coordinator answers at {address}: {why}; {hint}"


def _reason(error: Exception) -> str:
    """Why, in a few words."""
    if isinstance(error, DNSLookupError):
        return "there is no host of this name"
    number = getattr(error, "osError", None)
    if isinstance(number, int):
        return os.strerror(number).lower()
    return str(error).rstrip(".") or type(error).__name__


def _connect(reactor: Any, endpoint: IStreamClientEndpoint, within: float | None) -> Deferred[Any]:
    connecting: Deferred[Any] = endpoint.connect(_Dialing(reactor))
    connecting.addErrback(_no_name)
    return connecting if within is None else patiently(connecting, within, reactor)


def _no_name(failure: Failure) -> Failure:
    """A host that no name server could know: so Twisted says it."""
    return Failure(DNSLookupError()) if failure.check(ValueError) else failure


async def _attempt(
    connect: Callable[[], Deferred[Any]],
    role: Side,
    token: Token | None,
    locator: amp.CommandLocator,
) -> Greeted:
    connection = cast(_Dialed, await connect())
    try:
        return await _greet(connection, role, token, locator)
    except BaseException:
        connection.abort()
        raise


async def _greet(
    connection: _Dialed, role: Side, token: Token | None, locator: amp.CommandLocator
) -> Greeted:
    if hasattr(connection.transport, "getPeerCertificate"):
        await connection.secured()
        assert token is not None
        check_key(connection.transport, token.key_hash)
    hello = await connection.call(
        Hello,
        versions=list(PROTOCOL_VERSIONS),
        role=role if token is None else token.role,
        software=software(),
        frame_jobs=LARGE_FRAME_JOBS,
    )
    _check_version(hello)
    connection.frame_jobs = jobs_in_a_frame(hello["frame_jobs"])
    proof: dict[str, Any] = {"client": "local", "credential": None}
    if not hello["open"]:
        if token is None:
            raise TokenRefused("this coordinator asks for a token")
        proof = await connection.call(Authenticate, token=token.id, secret=token.secret)
    connection.admit(locator)
    credential = proof["credential"]
    return Greeted(
        connection=connection,
        store=hello["store"],
        term=hello["term"],
        client=proof["client"],
        software=hello["software"],
        version=hello["version"],
        credential=None if credential is None else parse_token(credential),
    )


def _check_version(hello: dict[str, Any]) -> None:
    if hello["version"] not in PROTOCOL_VERSIONS:
        ours = ", ".join(map(str, PROTOCOL_VERSIONS))
        raise VersionMismatch(
            f"the coordinator runs ampacity {hello['software']:.40} and answered with version "
            f"{hello['version']} of the protocol; ampacity {software()} here speaks version {ours}"
        )


@implementer(IHandshakeListener)
class _Dialed(Connection):
    """A connection that waits for its TLS handshake."""

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__(clock=clock)
        self._shaken = False
        self._waiting: Deferred[None] | None = None

    def secured(self) -> Deferred[None]:
        """Fires when TLS is up; fails with ``Disconnected`` where it does not come up."""
        self._waiting = Deferred()
        waiting = self._waiting
        if self._shaken:
            self.handshakeCompleted()
        self.on_lost(self._not_secured)
        return waiting

    def handshakeCompleted(self) -> None:
        self._shaken = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _not_secured(self, reason: Failure) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(Failure(Disconnected(f"TLS did not come up: {reason.value}")))


@attrs.define(eq=False)
class _Dialing(Factory):
    """Makes the one connection of an attempt."""

    clock: IReactorTime
    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> _Dialed:
        return _Dialed(self.clock)
