"""One job, as its submitter holds it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ..protocol.ids import JobId
from ..protocol.outcomes import Ending
from . import afterwards
from .awaiting import Answer, Eventual, Promise, Settled, answer
from .info import JobInfo, info
from .reading import read

if TYPE_CHECKING:
    from .frames import Frame
    from .session import Session

T_co = TypeVar("T_co", covariant=True)

T = TypeVar("T")
W = TypeVar("W", bound=Deferred[Any])

_NOT_READ: Any = object()


class Result(Answer[T]):
    """A reader's own."""

    def __init__(self, job: Job[Any]) -> None:
        super().__init__(_give_up)
        self.job = job


class Wanted(Promise):
    """The same, for who awaits it."""

    def __init__(self, job: Job[Any]) -> None:
        super().__init__(_give_up)
        self.job = job


def _give_up(waiter: Any) -> None:
    """Cancel; a method of the job would be one more object for each."""
    waiter.job.given_up(waiter)


class Job(Eventual[T_co]):
    """A job that was submitted, or found.

    ``await job`` gives the value or raises; ``result()`` does the same as a Deferred. A job
    without a reader costs nothing: no Deferred exists, and nothing is unpickled, before somebody
    asks; nobody is told about failures that nobody asked about.
    """

    __slots__ = (
        "__weakref__",
        "_accepting",
        "_body",
        "_ending",
        "_error",
        "_plain",
        "_session",
        "_value",
        "_waiting",
        "_watch",
        "frame",
        "id",
        "name",
    )

    def __init__(
        self, session: Session, name: str, job: JobId | None = None, plain: bool = False
    ) -> None:
        """``plain``: nothing that arrives is unpickled."""
        self._session = session
        self._plain = plain
        self.name = name
        self.id = job
        """None until ``accepted()`` fires."""
        self.frame: Frame | None = None
        self._ending: Ending | None = None
        self._body = b""
        self._error: Exception | None = None
        self._value: Any = _NOT_READ
        self._waiting: Deferred[T_co] | list[Deferred[T_co]] | None = None
        """Mostly it is one, and no list."""
        self._accepting: list[Deferred[JobId]] | None = None
        self._watch = job is not None

    def __repr__(self) -> str:
        number = "not accepted yet" if self.id is None else str(self.id)
        return f"<Job {number} ({self.name})>"

    # -- for the user -----------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the end of the job is known here."""
        return self._ending is not None or self._error is not None

    def accepted(self) -> Deferred[JobId]:
        """Fires with the job's id once the coordinator has it; a new Deferred each time."""
        waiter: Answer[JobId] = Answer()
        if self.id is not None:
            waiter.callback(self.id)
        elif self._error is not None:
            waiter.errback(self._error)
        elif self._ending is not None:
            self._read_into(waiter)
        else:
            self._accepting = [*(self._accepting or ()), waiter]
        return waiter

    def result(self) -> Deferred[T_co]:
        """The value, or the failure; a new Deferred each time, and none alters another's result.

        Cancelling it cancels the job.
        """
        waiter: Result[T_co] = Result(self)
        self._wait(waiter)
        return waiter

    def __await__(self) -> Generator[Any, Any, T_co]:
        if self._ending is not None:  # mostly it has ended, and then needs no Deferred
            value = self._read() if self._value is _NOT_READ else self._value
            if not isinstance(value, Deferred):
                return cast(T_co, self._keep_value(value))
            wait = self._read_later(value, Wanted(self))
        else:
            wait = self.wait()
        if wait.settled is None:
            yield wait
        return cast("Settled[T_co]", wait.settled)()

    def wait(self) -> Wanted:
        """As ``result()``, for who awaits it."""
        wanted = Wanted(self)
        self._wait(wanted)
        return wanted

    def cancel(self) -> Deferred[str]:
        """End the job; fires with the state that it had (``queued``, ``running``, ...).

        Its result then is ``JobCancelled``, unless it ended in another way before.
        """
        if self.ended:
            return _succeeded("unknown" if self._ending is None else self._ending.words)
        return answer(self._session.cancel(self))

    def retry(self) -> Deferred[Job[T_co]]:
        """Run it again, though it has ended, as a new job, which has its place in its group.

        Fails with ``Refused`` if it has not ended, ``NoSuchJob`` if it was forgotten. A job is run
        again once: asked for it again, the same new job is given.
        """
        return answer(Deferred.fromCoroutine(self._retry()))

    async def _retry(self) -> Job[T_co]:
        (number,) = await afterwards.retry(self._session, self)
        return Job(self._session, self.name, number, self._plain)

    def forget(self) -> Deferred[str]:
        """Have the coordinator give it up, with all that is kept of it, if it has ended.

        Fires with ``forgotten``, with the state that it has, or with ``unknown``.
        """
        return answer(Deferred.fromCoroutine(self._forget()))

    async def _forget(self) -> str:
        number = await self.accepted()
        states = await afterwards.forgotten(self._session, [number])
        return states.get(number, "unknown")

    def info(self) -> Deferred[JobInfo]:
        """All that the coordinator knows of it: its state, its attempts, its story.

        Fails with ``NoSuchJob`` if it was forgotten.
        """
        return answer(Deferred.fromCoroutine(self._info()))

    async def _info(self) -> JobInfo:
        return await info(self._session, await self.accepted())

    # -- for the session --------------------------------------------------------------------------

    def was_accepted(self, job: JobId) -> None:
        self.id = job
        accepting, self._accepting = self._accepting, None
        for waiter in accepting or ():
            waiter.callback(job)

    def has_ended(self, ending: Ending, body: bytes) -> Callable[[], None] | None:
        self._ending, self._body = ending, body
        return None if self._waiting is None and self._accepting is None else self._tell

    def has_failed(self, error: Exception) -> None:
        """There will be no outcome: nobody accepted it, or who did is gone."""
        self._error = error
        self._tell()

    def _tell(self) -> None:
        waiting, accepting = self._waiters(), self._accepting or ()
        self._waiting = self._accepting = None
        for waiter in (*waiting, *accepting):
            if waiter.called:
                continue
            if self._error is not None:
                waiter.errback(self._error)
            else:
                self._read_into(waiter)

    # -- waiting and reading ----------------------------------------------------------------------

    def _wait(self, waiter: Deferred[T_co]) -> None:
        """Have it fire, now or when the job has ended."""
        if self._error is not None:
            waiter.errback(self._error)
        elif self._ending is not None:
            self._read_into(waiter)
        else:
            self._tell_later(waiter)

    def _tell_later(self, waiter: Deferred[T_co]) -> None:
        self._waiting = waiter if self._waiting is None else [*self._waiters(), waiter]
        if self._watch and self.id is not None:
            self._watch = False
            self._session.expect(self.id, self)

    def _waiters(self) -> Sequence[Deferred[T_co]]:
        waiting = self._waiting
        if isinstance(waiting, list):
            return waiting
        return () if waiting is None else (waiting,)

    def given_up(self, waiter: Deferred[Any]) -> None:
        """Its reader has cancelled it."""
        self._waiting = [one for one in self._waiters() if one is not waiter] or None
        if not self.ended:
            self._session.cancel(self)

    def _read_into(self, waiter: Deferred[Any]) -> None:
        """Fire with what the outcome holds, which is read once where it is a value."""
        try:
            value = self._read() if self._value is _NOT_READ else self._value
        except Exception:  # noqa: BLE001  # every exception of a job goes to who asked
            waiter.errback(Failure())
            return
        if isinstance(value, Deferred):
            self._read_later(value, waiter)
        else:
            waiter.callback(self._keep_value(value))

    def _read(self) -> Any:
        """The value, or a Deferred of it; raises what stands for another ending."""
        assert self._ending is not None
        return read(self._session, self.id, self.name, self._ending, self._body, self._plain)

    def _read_later(self, value: Deferred[Any], waiter: W) -> W:
        value.addCallback(self._keep_value).addBoth(_fire, waiter)
        return waiter

    def _keep_value(self, value: Any) -> Any:
        self._value = value
        self._body = b""
        return value


def _fire(result: Any, waiter: Deferred[Any]) -> None:
    if waiter.called:
        return
    if isinstance(result, Failure):
        waiter.errback(result)
    else:
        waiter.callback(result)


def _succeeded(value: str) -> Deferred[str]:
    done: Answer[str] = Answer()
    done.callback(value)
    return done
