"""What a session asks besides submitting: batched in a turn, repeated after a reconnection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..protocol.errors import Disconnected, NoSuchJob
from ..protocol.ids import JobId
from ..protocol.ports import Coordinator
from .awaiting import error_in

if TYPE_CHECKING:
    from .frames import Frame
    from .session import Session

T = TypeVar("T")

_BATCH = 10_000
"""Ids in one request."""


class Requests:
    """Calls of a coordinator that may not be reachable at the moment."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._coordinator: Coordinator | None = None
        self._waiting: dict[Deferred[Any], Callable[[Coordinator], None]] = {}
        """Who waits for a connection, and how to ask then."""
        self._everywhere: set[Deferred[Any]] = set()
        """Who may be answered by another store as well."""
        self._hopeless: Exception | None = None
        self._cancels: dict[JobId, list[Deferred[str]]] = {}
        self._watches: list[JobId] = []
        self.watched: set[JobId] = set()
        """Jobs that are waited for, and that the session was perhaps not the one to submit: what
        is delivered without being asked for ends with each connection."""

    def connected(self, coordinator: Coordinator) -> None:
        """Ask what waited, and again what may have been lost."""
        self._coordinator = coordinator
        self._hopeless = None
        self._watches = [*self.watched]
        waiting, self._waiting = self._waiting, {}
        for ask in waiting.values():
            ask(coordinator)

    def disconnected(self) -> None:
        self._coordinator = None

    def another_store(self, error: Exception) -> None:
        """Another coordinator will be asked: what is about jobs of the one before is not for it."""
        for answer in [one for one in self._waiting if one not in self._everywhere]:
            del self._waiting[answer]
            if not answer.called:
                answer.errback(error)

    def call(
        self,
        ask: Callable[[Coordinator], Deferred[T]],
        again: bool = True,
        everywhere: bool = False,
    ) -> Deferred[T]:
        """Ask now, or once a connection is there; ``again`` if it went before the answer came.

        Who has answered that it is gone is not asked again: the next one is waited for. If that
        has another store, the question fails with ``CoordinatorLost``, unless it is one that may
        be asked ``everywhere``: about no job, group or worker in particular.
        """
        answer: Deferred[T] = Deferred(self._forget)
        if everywhere:
            self._everywhere.add(answer)
            answer.addBoth(self._answered, answer)

        def start(coordinator: Coordinator) -> None:
            if not answer.called:
                ask(coordinator).addCallbacks(
                    _fire, lost, callbackArgs=(answer,), errbackArgs=(coordinator,)
                )

        def lost(failure: Failure, asked: Coordinator) -> None:
            if answer.called:
                return
            if again and failure.check(Disconnected):
                self._when_connected(answer, start, but=asked)
            else:
                answer.errback(failure)

        self._when_connected(answer, start)
        return answer

    def _answered(self, result: T, answer: Deferred[Any]) -> T:
        self._everywhere.discard(answer)
        return result

    def _forget(self, answer: Deferred[Any]) -> None:
        """Nobody waits for this answer any more."""
        self._waiting.pop(answer, None)

    def _when_connected(
        self,
        answer: Deferred[Any],
        start: Callable[[Coordinator], None],
        but: Coordinator | None = None,
    ) -> None:
        coordinator = self._coordinator
        there = coordinator is not but and not getattr(coordinator, "lost", False)
        if coordinator is not None and there:
            start(coordinator)
        elif self._hopeless is not None:
            answer.errback(self._hopeless)
        else:
            self._waiting[answer] = start

    # -- batches ----------------------------------------------------------------------------------

    def cancel(self, job: JobId) -> Deferred[str]:
        """End a job; fires with the state that it had."""
        state: Deferred[str] = Deferred()
        self._cancels.setdefault(job, []).append(state)
        self._session.wake()
        return state

    def watch(self, job: JobId) -> None:
        """Have the outcome of a job delivered that was submitted elsewhere."""
        self.watched.add(job)
        self._watches.append(job)
        self._session.wake()

    def keep_watching(self, jobs: Iterable[JobId]) -> None:
        """These are delivered as it is; after a reconnection, they are asked for."""
        self.watched.update(jobs)

    def named_by_key(self, frame: Frame, jobs: Sequence[JobId]) -> None:
        """A frame was answered: a job that has a key may be another session's, or one that was
        delivered before."""
        for (_, _, key, _), job in zip(frame.submissions, jobs, strict=True):
            if key is None:
                continue
            if frame.resent:  # the outcome may have been sent over the connection before
                self.watch(job)
            else:
                self.keep_watching([job])

    def flush(self) -> None:
        """Send what the turn has brought."""
        if self._coordinator is None:
            if self._hopeless is not None:
                self._refuse(self._hopeless)
            return
        if self._cancels:
            self._flush_cancels()
        if self._watches:
            self._flush_watches()

    def _flush_cancels(self) -> None:
        cancels, self._cancels = self._cancels, {}
        ids = list(cancels)
        for start in range(0, len(ids), _BATCH):
            batch = ids[start : start + _BATCH]
            waiters = {job: cancels[job] for job in batch}
            self._cancel(batch).addBoth(_tell_states, waiters)

    def _cancel(self, jobs: list[JobId], queued_only: bool = False) -> Deferred[dict[int, str]]:
        return self.call(lambda coordinator: coordinator.cancel(jobs, queued_only))

    def _flush_watches(self) -> None:
        watches, self._watches = self._watches, []
        for start in range(0, len(watches), _BATCH):
            batch = watches[start : start + _BATCH]
            self._watch(batch)

    def _watch(self, jobs: list[JobId]) -> None:
        watching = self.call(lambda coordinator: coordinator.watch(jobs), again=False)
        watching.addCallbacks(self._not_known, lambda failure: self._refused(jobs, failure))

    def _not_known(self, unknown: list[int]) -> None:
        for job in unknown:
            self.watched.discard(JobId(job))
            self._session.unknown(
                JobId(job), NoSuchJob(f"there is no job {job}, or it was forgotten")
            )

    def _refused(self, batch: list[JobId], failure: Failure) -> None:
        if failure.check(Disconnected):
            return  # all are asked for again, over the next connection
        for job in batch:
            self.watched.discard(job)
            self._session.unknown(job, error_in(failure))

    # -- without an answer ------------------------------------------------------------------------

    def close_group(self, number: int, size: int) -> None:
        self.call(lambda coordinator: coordinator.close_group(number, size)).addErrback(_ignore)

    def cancel_queued(self, jobs: list[JobId]) -> None:
        """End those that have not begun."""
        for start in range(0, len(jobs), _BATCH):
            self._cancel(jobs[start : start + _BATCH], queued_only=True).addErrback(_ignore)

    def give_up(self, error: Exception) -> None:
        """Nobody will answer any more, unless there is a connection again after all."""
        self._hopeless = error
        waiting, self._waiting = self._waiting, {}
        for answer in waiting:
            if not answer.called:
                answer.errback(error)

    def try_again(self) -> None:
        """Somebody may answer after all: who asks from here on waits for him."""
        self._hopeless = None

    def fail_all(self, error: Exception) -> None:
        """No answer will come about jobs that were submitted."""
        cancels, self._cancels = self._cancels, {}
        self._watches.clear()
        self.watched.clear()
        for waiters in cancels.values():
            for waiter in waiters:
                _errback(waiter, error)

    def _refuse(self, error: Exception) -> None:
        watches = self._watches.copy()
        self.fail_all(error)
        for job in watches:
            self._session.unknown(job, error)


def _fire(value: T, answer: Deferred[T]) -> None:
    if not answer.called:
        answer.callback(value)


def _errback(waiter: Deferred[Any], error: Exception) -> None:
    if not waiter.called:
        waiter.addErrback(_ignore).errback(error)


def _ignore(_: Failure) -> None:
    """Nobody waits for this answer."""


def _tell_states(result: Any, waiters: dict[JobId, list[Deferred[str]]]) -> None:
    for job, waiting in waiters.items():
        for waiter in waiting:
            if waiter.called:
                continue
            if isinstance(result, Failure):
                _errback(waiter, error_in(result))
            else:
                waiter.callback(result.get(job, "unknown"))


def same(source: Deferred[str]) -> Deferred[str]:
    """A Deferred of its own for each who asks."""
    waiter: Deferred[str] = Deferred()

    def tell(state: str) -> str:
        if not waiter.called:
            waiter.callback(state)
        return state

    source.addCallback(tell)
    return waiter
