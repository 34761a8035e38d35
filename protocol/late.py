"""Answers that can wait: they say no more than that something has arrived.

Sent by itself, each would be a write here and wake the peer up for nothing; so they go with what
is said next, in the same write, or after a moment.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

LATE_SECONDS: Final = 0.005
"""For how long an answer waits at most."""

LATE_ANSWERS: Final = 4
"""So many do not wait: a quarter of the frames that a peer sends before the first is answered."""


class LateAnswers:
    """Those of one connection."""

    __slots__ = ("_reactor", "_timer", "_waiting")

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._waiting: list[Deferred[dict[str, Any]]] = []
        self._timer: IDelayedCall | None = None

    def add(self) -> Deferred[dict[str, Any]]:
        """An answer without contents, for a responder to return."""
        answer: Deferred[dict[str, Any]] = Deferred()
        self._waiting.append(answer)
        if len(self._waiting) >= LATE_ANSWERS:
            self.send()
        elif self._timer is None:
            self._timer = self._reactor.callLater(LATE_SECONDS, self._due)
        return answer

    def _due(self) -> None:
        self._timer = None
        self.send()

    def send(self) -> None:
        """Give those that wait: something else is about to be sent."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for answer in waiting:
                answer.callback({})

    def forget(self) -> None:
        """The connection is gone."""
        self._waiting = []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
