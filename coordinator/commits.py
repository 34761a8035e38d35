"""Writes of one turn of the reactor go to the store together; what they make true is told after.

While a commit runs, the turns that follow gather for the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.errors import Disconnected, StorageFull
from ..protocol.jobs import Assignment
from .effects import Assign, AttemptsMade, Effect, JobsAdded, JobsEnded, JobsTaken, Write
from .records import WorkerRecord
from .store import Store, StoreBroken

PATIENCE = 0.05
"""Seconds that marks of what was taken wait for other writes to go with, on a disk."""

PACE = 0.005
"""Seconds from the begin of one commit of much to that of the next, on a disk: each costs the
processor as much as ten jobs, and whoever sends as much does not wait for the single one."""

MUCH = 32
"""Changes of jobs in one commit."""

COMMIT_AGAIN = 1.0
"""Seconds until a commit that failed is tried again."""

_WRITES = frozenset(get_args(Write))


@attrs.define
class Batch:
    """What is committed together, what is told then, and who waits for it."""

    writes: list[Write] = attrs.field(factory=list)
    tells: list[Effect] = attrs.field(factory=list)
    waiting: list[Deferred[None]] = attrs.field(factory=list)

    def assigned(self) -> dict[WorkerRecord, list[Assignment]]:
        """The assignments of each worker together."""
        found: dict[WorkerRecord, list[Assignment]] = {}
        for effect in self.tells:
            if type(effect) is Assign:
                found.setdefault(effect.worker, []).extend(effect.assignments)
        return found

    @property
    def can_wait(self) -> bool:
        """Whether nobody waits for it: at worst, what was taken is delivered once more."""
        if self.tells or self.waiting:
            return False
        return all(type(write) is JobsTaken for write in self.writes)

    @property
    def much(self) -> bool:
        """Whether it is about many jobs."""
        return sum([_jobs(write) for write in self.writes]) >= MUCH

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
        broken: Callable[[Failure], None],
    ) -> None:
        self.failing = ""
        """Why the last commit has failed, where it has."""
        self._reactor = reactor
        self._store = store
        self._turn_ends = turn_ends
        self._tell = tell
        self._broken = broken
        self._next = Batch()
        self._turn: IDelayedCall | None = None
        self._again: IDelayedCall | None = None
        self._later: IDelayedCall | None = None
        self._pace = 0.0
        """When the next commit may begin."""
        self._committing = False
        self._stopping: Deferred[None] | None = None

    def add(self, done: Sequence[Effect]) -> None:
        """Effects of an event of this turn."""
        writes, tells = self._next.writes, self._next.tells
        for effect in done:
            if type(effect) in _WRITES:
                writes.append(effect)  # type: ignore[arg-type]  # the set says so
            else:
                tells.append(effect)
        self.arm()

    @property
    def settled(self) -> bool:
        """Whether all writes up to now are stored."""
        return not (self._committing or self._next.writes)

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

    def give_up(self, failure: Failure) -> None:
        """The store cannot be relied upon, as reading it has shown."""
        if not (self.failing or self._stopping):
            self.failing = str(failure.value)
            self._committing = True  # nothing is committed any more
            self._broken(failure)

    def stop(self) -> Deferred[None]:
        """Commit what has come, and nothing more; fires when that is done, or cannot be done."""
        self._stopping = Deferred()
        stopping = self._stopping
        for call in (self._turn, self._again, self._later):
            if call is not None and call.active():
                call.cancel()
        self._later = None
        if not self._committing or self.failing:
            self._commit_last()
        return stopping

    def _commit_last(self) -> None:
        last, self._next = self._next, Batch()
        _disappoint(last)
        committing: Deferred[None] | None = None
        if last.writes and not self.failing:
            try:
                committing = self._store.commit(last.writes)
            except Exception:  # noqa: BLE001 -- as in ``_commit``
                committing = fail(Failure())
        if committing is None:
            committing = succeed(None)
        else:
            committing.addErrback(lambda f: self._log.failure("the last writes are not stored", f))
        assert self._stopping is not None
        committing.chainDeferred(self._stopping)

    def _end_turn(self) -> None:
        try:
            self._turn_ends()
        finally:
            self._turn = None  # or there would never be another one
        if self._committing:
            return
        rest = self._rest() if self._store.durable else 0.0
        if rest <= 0.0:
            self._commit()
        elif self._later is None:
            self._later = self._reactor.callLater(rest, self._commit_later)
        elif self._later.getTime() > self._reactor.seconds() + rest:
            self._later.reset(rest)

    def _rest(self) -> float:
        """Seconds until the next commit is due."""
        if not self._next.writes:
            return 0.0  # there is something to tell at most, and that costs no commit
        return PATIENCE if self._next.can_wait else self._pace - self._reactor.seconds()

    def _commit_later(self) -> None:
        self._later = None
        if not self._committing:
            self._commit()

    def _commit(self) -> None:
        batch, self._next = self._next, Batch()
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if batch.writes:
            self._pace = self._reactor.seconds() + PACE if batch.much else 0.0
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
        self._committing, self.failing = False, ""
        if self._stopping is not None:
            _disappoint(batch)
            self._commit_last()
            return
        self._tell(batch)
        if self._next:
            self.arm()

    def _not_done(self, failure: Failure, batch: Batch) -> None:
        """Nothing of it is told; it is tried again, with what has come since."""
        if self._stopping is not None:
            self._log.failure("{count} writes are not stored", failure, count=len(batch.writes))
            self.failing = str(failure.value)
            _disappoint(batch)
            self._commit_last()
            return
        if failure.check(StoreBroken):
            self.failing = str(failure.value)
            _disappoint(batch)
            self._broken(failure)
            return
        if not failure.check(StorageFull):
            self._log.failure("{count} writes are not stored", failure, count=len(batch.writes))
        elif not self.failing:
            what = "{count} writes wait for room: {why}"
            self._log.warn(what, count=len(batch.writes), why=str(failure.value))
        self.failing = str(failure.value)
        later = self._next
        self._next = Batch(
            batch.writes + later.writes, batch.tells + later.tells, batch.waiting + later.waiting
        )
        self._again = self._reactor.callLater(COMMIT_AGAIN, self._try_again)

    def _try_again(self) -> None:
        self._committing = False
        self._commit()


def _jobs(write: Write) -> int:
    """How many jobs are new, given to a worker, or ended."""
    if isinstance(write, JobsAdded | AttemptsMade):
        return len(write.jobs)
    return len(write.outcomes) if isinstance(write, JobsEnded) else 0


def _disappoint(batch: Batch) -> None:
    for done in batch.waiting:
        done.errback(Disconnected("the coordinator has stopped"))
