"""Who waits until a session has nothing under way."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred


class Quiet:
    """Tells when everything is accepted, or has ended. Costs nothing while nobody waits."""

    def __init__(self, is_quiet: Callable[[bool], bool]) -> None:
        self._is_quiet = is_quiet
        """Called with whether results count, too."""
        self._waiting: list[tuple[bool, Deferred[None]]] = []

    def wait(self, results: bool) -> Deferred[None]:
        """Fires when all jobs are accepted; with ``results``, when all have ended."""
        waiter: Deferred[None] = Deferred()
        self._waiting.append((results, waiter))
        self.look()
        return waiter

    def look(self) -> None:
        """Something has changed."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for results, waiter in waiting:
            if waiter.called:
                continue
            if self._is_quiet(results):
                waiter.callback(None)
            else:
                self._waiting.append((results, waiter))
