"""Questions of the scheduler to the store: one after the other, in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from .commits import Commits
from .effects import Load
from .kept import Found
from .store import Store, StoreBroken


class Loads:
    """Reads what tasks of the scheduler wait for, each when all that was known is stored.

    A cold job cannot change before the answer is handed over: only an answer makes it hot.
    """

    _log = Logger()

    def __init__(
        self, store: Store, commits: Commits, loaded: Callable[[int, Found | None], None]
    ) -> None:
        self._store = store
        self._commits = commits
        self._loaded = loaded
        self._waiting: deque[Load] = deque()
        self._reading = False
        self._stopped = False

    def add(self, load: Load) -> None:
        """Have a question answered."""
        self._waiting.append(load)
        if not self._reading:
            self._next()

    def stop(self) -> None:
        """Answer nothing any more."""
        self._stopped = True
        self._waiting.clear()

    def _next(self) -> None:
        self._reading = True
        while self._waiting and not self._stopped:
            if not self._commits.settled:
                self._commits.committed().addCallbacks(self._stored, lambda _: None)
                return
            if self._read():
                return
        self._reading = False

    def _stored(self, _: None) -> None:
        """What has been written since the first question was asked may wait: it cannot matter."""
        if not self._stopped and not self._read():
            self._next()

    def _read(self) -> bool:
        """Ask the first question; whether its answer is still to come."""
        load = self._waiting.popleft()
        found: Found | Deferred[Found] | None = None
        try:
            found = self._store.read(load.question)
        except Exception:  # noqa: BLE001 -- whatever a store raises, others have to go on
            self._not_read(Failure())
        if isinstance(found, Deferred):
            found.addErrback(self._not_read).addCallback(self._has_read, load)
            return True
        self._hand_over(found, load)
        return False

    def _has_read(self, found: Found | None, load: Load) -> None:
        if not self._stopped:
            self._hand_over(found, load)
            self._next()

    def _hand_over(self, found: Found | None, load: Load) -> None:
        try:
            self._loaded(load.task, found)
        except Exception:  # noqa: BLE001 -- a mistake with one answer must not keep the others away
            self._log.failure("an answer of the store was not taken")

    def _not_read(self, failure: Failure) -> None:
        if not self._stopped:
            self._log.failure("the store cannot be read", failure)
            if failure.check(StoreBroken):
                self._commits.give_up(failure)
