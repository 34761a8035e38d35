"""Questions of peers to the scheduler that wait for their answer."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..protocol.errors import Disconnected


class Asks:
    """Each question has a number, by which an effect names it."""

    def __init__(self) -> None:
        self._waiting: dict[int, Deferred[Any]] = {}
        self._last = 0

    def begin(self) -> tuple[int, Deferred[Any]]:
        """A new question: its number, and what will be its answer."""
        self._last += 1
        answer = self._waiting[self._last] = Deferred()
        return self._last, answer

    def answer(self, number: int, value: Any) -> None:
        """Answer a question."""
        self._waiting.pop(number).callback(value)

    def refuse(self, number: int, error: Exception | Failure) -> None:
        """Let a question fail."""
        self._waiting.pop(number).errback(error)

    def stop(self) -> None:
        """Nothing will be answered any more."""
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.errback(Disconnected("the coordinator has stopped"))
