"""A session with a coordinator elsewhere, over connections that come and go."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.access import AccessFolder
from ..protocol.addresses import Address, parse_address
from ..protocol.commands import OpenSession
from ..protocol.dialing import CONNECT_TIMEOUT, WAITING_SECONDS, Greeted, dial
from ..protocol.errors import (
    AmpacityError,
    BadOption,
    Disconnected,
    NoCoordinator,
    QueueFull,
    Refused,
    StorageFull,
)
from ..protocol.privacy import read_token_file
from ..protocol.steady import monotonic_of
from ..protocol.tokens import Token, parse_token
from .awaiting import error_in
from .coordinator import Ears, RemoteCoordinator
from .session import Session

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 5.0
_GOODBYE_SECONDS = 2.0


@attrs.frozen
class Target:
    """Which coordinator, and what to show to it."""

    address: Address
    token: Token | None = None

    @classmethod
    def of(
        cls,
        address: str | None = None,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
    ) -> Target:
        """From what a program says; what it leaves out comes from ``AMPACITY_COORDINATOR`` and
        ``AMPACITY_TOKEN_FILE``, and is the coordinator of this user on this machine otherwise.

        Raises:
            BadOption: the address is none, or the token comes from two places.
            TokenDamaged: the token is damaged.
            OSError: the token's file cannot be read.
            InsecureFolder: others can read it.
        """
        if token is not None and token_file is not None:
            raise BadOption("a token is given as a text or by a file, not both")
        text = address or os.environ.get("AMPACITY_COORDINATOR")
        if text is None:
            return cls(Address(path=AccessFolder.default().socket))
        try:
            parsed = parse_address(text)
        except ValueError as e:
            raise BadOption(str(e)) from None
        file = token_file or os.environ.get("AMPACITY_TOKEN_FILE")
        if token is None and file is not None and (token_file or parsed.token is None):
            token = read_token_file(Path(file).expanduser())
        return cls(parsed, parsed.token if token is None else _token_in(token))


def _token_in(text: str) -> Token:
    """A token, or the whole line with an address that a coordinator prints."""
    return parse_token(text.strip().rpartition("#")[2])


class RemoteLink:
    """Keeps a session connected. The first connection is tried for ``wait`` seconds, a lost one
    is made again for ``patience`` seconds (None: for as long as it takes), with growing and random
    pauses."""

    local = False
    _log = Logger()

    def __init__(
        self, reactor: Any, target: Target, wait: float, patience: float | None = None
    ) -> None:
        self._reactor = reactor
        self._now = monotonic_of(reactor)
        self._target = target
        self._wait = wait
        self._patience = patience
        self.on_given_up: Callable[[Failure], object] | None = None
        """Called when a lost connection is not tried any more; ``open`` may be, again. Without
        it, all that the session waits for fails."""
        self._random = SystemRandom()
        self._coordinator: RemoteCoordinator | None = None
        self._again: Deferred[None] | None = None
        self._closed = False

    def open(self, session: Session) -> Deferred[None]:
        """Fires when the session is open there.

        Fails with ``NoCoordinator``, or with one of ``Refused``, for which nothing is tried again.
        """
        return Deferred.fromCoroutine(self._open(session))

    async def _open(self, session: Session) -> None:
        until = self._now() + self._wait
        pause = _FIRST_WAIT
        while True:
            left = until - self._now()
            try:
                return await self._connect(session, max(left, _FIRST_WAIT))
            except (NoCoordinator, Disconnected) as e:
                if self._now() + pause >= until:
                    raise _plain(e) from None
            await deferLater(self._reactor, pause)
            pause = min(pause * 1.5, 1.0)

    async def _connect(self, session: Session, seconds: float, waiting: float = 0.0) -> None:
        ears = Ears(session)
        target = self._target
        greeted: Greeted = await dial(
            self._reactor, target.address, "client", target.token, ears, seconds, waiting
        )
        connection = greeted.connection
        session.meet(greeted.store)
        try:
            opened = await connection.call(OpenSession, session=session.id)
        except BaseException:
            connection.abort()
            raise
        if self._closed:
            connection.abort()
            raise CancelledError
        self._coordinator = RemoteCoordinator(connection, session, greeted.version)
        connection.on_lost(lambda reason: self._lost(session, reason))
        if connection.lost is None:
            session.connected(self._coordinator, opened["next_sequence"])

    def _lost(self, session: Session, reason: Failure) -> None:
        self._coordinator = None
        session.disconnected()
        if self._closed:
            return
        self._log.info(
            "the connection to {address} is gone: {reason}",
            address=str(self._target.address),
            reason=reason.getErrorMessage(),
        )
        self._again = Deferred.fromCoroutine(self._reconnect(session, reason.getErrorMessage()))
        self._again.addErrback(self._give_up, session)

    async def _reconnect(self, session: Session, why: str) -> None:
        """Try until it works; a refusal is final.

        Raises:
            NoCoordinator: it was tried for as long as it may be.
        """
        bound = _FIRST_WAIT
        until = None if self._patience is None else self._now() + self._patience
        while until is None or self._now() < until:
            left = bound if until is None else min(bound, until - self._now())
            await deferLater(self._reactor, self._random.uniform(0, left))
            try:
                await self._connect(session, CONNECT_TIMEOUT, WAITING_SECONDS)
                return
            except AmpacityError as e:
                if isinstance(e, Refused) and not isinstance(e, QueueFull | StorageFull):
                    raise
                why = str(e)
                bound = min(bound * 2, _LONGEST_WAIT)
        raise NoCoordinator(
            f"the coordinator at {self._target.address} went away, and did not come back within "
            f"{self._patience:g} s; what it had accepted goes on when it runs again. The last try: "
            f"{why}"
        )

    def _give_up(self, failure: Failure, session: Session) -> None:
        if failure.check(CancelledError):
            return
        self._log.warn("no connection is tried any more: {why}", why=failure.getErrorMessage())
        if self.on_given_up is not None:
            self.on_given_up(failure)
        else:
            session.fail_all(error_in(failure))

    def close(self) -> Deferred[None]:
        """Say goodbye and hang up: jobs with ``orphans="cancel"`` end now."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()
        return Deferred.fromCoroutine(self._hang_up())

    async def _hang_up(self) -> None:
        coordinator, self._coordinator = self._coordinator, None
        if coordinator is None:
            return
        connection = coordinator.connection
        said: Deferred[Any] = coordinator.goodbye().addErrback(lambda _: None)
        await said.addTimeout(_GOODBYE_SECONDS, self._reactor, onTimeoutCancel=lambda _, __: None)
        gone: Deferred[None] = Deferred()
        connection.on_lost(lambda _: gone.callback(None))
        if connection.lost is None:
            connection.abort()
        await gone


def _plain(error: AmpacityError) -> NoCoordinator:
    return error if isinstance(error, NoCoordinator) else NoCoordinator(str(error))
