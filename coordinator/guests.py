"""Who is in, by the credential that let him in: to count them, and to show them out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.protocols import amp

from ..protocol.connection import Connection

LAST_WORD = 1.0
"""Seconds in which who has revoked his own credential is answered."""


class Session(Protocol):
    """What a connection is for."""

    def dismiss(self) -> None:
        """Its credential is good no more: it leaves now, as with a goodbye."""


class Guests:
    """Connections and their sessions, of all credentials."""

    def __init__(self, clock: IReactorTime, now: Callable[[], float]) -> None:
        self._clock = clock
        self._now = now
        self._in: dict[str, dict[Connection, Session]] = {}
        self._last: dict[str, float] = {}
        self._spared: set[Connection] = set()

    def came(self, credential: str, connection: Connection, session: Session) -> None:
        self._last[credential] = self._now()
        self._in.setdefault(credential, {})[connection] = session
        connection.on_lost(lambda _: self._gone(credential, connection))

    def count(self, credential: str) -> int:
        """How many connections it has now."""
        return len(self._in.get(credential, ()))

    def last(self, credential: str) -> float | None:
        """When it last let somebody in, as UNIX time; None: not since the coordinator's start."""
        return self._last.get(credential)

    def spare(self, connection: Connection) -> None:
        """Its credential may be revoked now, by itself: the answer goes out, then it ends."""
        self._spared.add(connection)

    def spare_no_more(self, connection: Connection) -> None:
        self._spared.discard(connection)

    def dismiss(self, credentials: Iterable[str]) -> None:
        """These credentials are good no more: what came in with them ends in this turn."""
        for credential in credentials:
            self._last.pop(credential, None)
            for connection, session in list(self._in.get(credential, {}).items()):
                session.dismiss()
                if connection in self._spared:
                    self._end_later(connection)
                else:
                    connection.drop(f"its credential {credential} is good no more")

    def _end_later(self, connection: Connection) -> None:
        """Nothing more is understood; what is being answered may still be."""
        connection.locator = amp.CommandLocator()
        call = self._clock.callLater(LAST_WORD, connection.abort)
        connection.on_lost(lambda _: call.cancel() if call.active() else None)

    def _gone(self, credential: str, connection: Connection) -> None:
        self._spared.discard(connection)
        connections = self._in.get(credential)
        if connections is not None:
            connections.pop(connection, None)
            if not connections:
                del self._in[credential]
