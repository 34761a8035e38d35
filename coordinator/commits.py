"""Writes of one turn of the reactor go to the store together; what they make true is told after.

While a commit runs, the turns that follow gather for the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.errors import Disconnected
from . import effects
from .effects import Effect, Write
from .store import Store

COMMIT_AGAIN = 1.0
"""Seconds until a commit that failed is tried again."""

_WRITES = frozenset(
    {
        effects.JobsAdded,
        effects.GroupSaved,
        effects.SessionSaved,
        effects.AttemptsMade,
        effects.JobsRequeued,
        effects.JobsEnded,
        effects.JobsForgotten,
        effects.GroupForgotten,
        effects.SessionForgotten,
    }
)


@attrs.define
class Batch:
    """What is committed together, what is told then, and who waits for it."""

    writes: list[Write] = attrs.field(factory=list)
    tells: list[Effect] = attrs.field(factory=list)
    waiting: list[Deferred[None]] = attrs.field(factory=list)

    def __bool__(self) -> bool:
        return bool(self.writes or self.tells or self.waiting)


class Commits:
    """The effects on their way through the store."""

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        store: Store,
        turn_ends: Callable[[], None],
        tell: Callable[[Batch], None],
    ) -> None:
        self.failing = False
        """Whether the last commit has failed."""
        self._reactor = reactor
        self._store = store
        self._turn_ends = turn_ends
        self._tell = tell
        self._next = Batch()
        self._turn: IDelayedCall | None = None
        self._again: IDelayedCall | None = None
        self._committing = False

    def add(self, done: Sequence[Effect]) -> None:
        """Effects of an event of this turn."""
        writes, tells = self._next.writes, self._next.tells
        for effect in done:
            if type(effect) in _WRITES:
                writes.append(effect)  # type: ignore[arg-type]  # the set says so
            else:
                tells.append(effect)
        self.arm()

    def committed(self) -> Deferred[None]:
        """Fires when everything up to now is committed."""
        done: Deferred[None] = Deferred()
        self._next.waiting.append(done)
        self.arm()
        return done

    def arm(self) -> None:
        """Have this turn of the reactor end with a commit."""
        if self._turn is None:
            self._turn = self._reactor.callLater(0, self._end_turn)

    def stop(self) -> None:
        """Commit no more; fail those who wait for it."""
        for call in (self._turn, self._again):
            if call is not None and call.active():
                call.cancel()
        last, self._next = self._next, Batch()
        for done in last.waiting:
            done.errback(Disconnected("the coordinator has stopped"))

    def _end_turn(self) -> None:
        self._turn_ends()
        self._turn = None
        if not self._committing:
            self._commit()

    def _commit(self) -> None:
        batch, self._next = self._next, Batch()
        try:
            committing = self._store.commit(batch.writes) if batch.writes else None
        except Exception:  # noqa: BLE001 -- whatever a store raises, its writes are kept
            committing = fail(Failure())
        if committing is None:
            self._tell(batch)
            return
        self._committing = True
        committing.addCallbacks(
            self._done, self._not_done, callbackArgs=(batch,), errbackArgs=(batch,)
        )
        committing.addErrback(lambda f: self._log.failure("telling what was committed", f))

    def _done(self, _: None, batch: Batch) -> None:
        self._committing = self.failing = False
        self._tell(batch)
        if self._next:
            self.arm()

    def _not_done(self, failure: Failure, batch: Batch) -> None:
        """Nothing of it is told; it is tried again, with what has come since."""
        self._log.failure("{count} writes are not stored", failure, count=len(batch.writes))
        self.failing = True
        later = self._next
        self._next = Batch(
            batch.writes + later.writes, batch.tells + later.tells, batch.waiting + later.waiting
        )
        self._again = self._reactor.callLater(COMMIT_AGAIN, self._try_again)

    def _try_again(self) -> None:
        self._committing = False
        self._commit()
