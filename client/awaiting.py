"""Waiting for a Deferred in Twisted coroutines and in asyncio tasks alike.

Who drives a coroutine shows only in what it does with the object that an ``await`` yields: Twisted
adds callbacks to it, an asyncio task asks for the interface of a future. So what is yielded here
is both. (``asyncio.current_task()`` cannot tell: a task may start a Twisted coroutine.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Settled(Generic[T]):
    """What a waiter fires with: calling it gives the value or raises the error."""

    __slots__ = ("_result", "ended_by_asyncio")

    def __init__(self, result: T | Failure) -> None:
        self._result = result
        self.ended_by_asyncio = False

    def __call__(self) -> T:
        if self.ended_by_asyncio:
            raise asyncio.CancelledError
        if isinstance(self._result, Failure):
            self._result.raiseException()
        return self._result


class Wait(Deferred[Any]):
    """One wait, as a Deferred and as much of a future as a task asks for.

    A task calls ``result()`` in the end, and finds there the ``Settled`` that a fired Deferred
    keeps under the same name.
    """

    _asyncio_future_blocking = True

    _wakeups: list[tuple[Callable[[Any], object], Context | None]] | None = None
    _ended = False
    settled: Settled[Any] | None = None

    def settle(self, result: Any) -> None:
        """Fire: a value or a Failure is there."""
        settled = self.settled = Settled(result)
        settled.ended_by_asyncio = self._ended
        super().callback(settled)
        for wake, context in self._wakeups or ():
            asyncio.get_running_loop().call_soon(wake, self, context=context)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def add_done_callback(
        self, wake: Callable[[Any], object], *, context: Context | None = None
    ) -> None:
        if self.called:
            self.get_loop().call_soon(wake, self, context=context)
        else:
            self._wakeups = [*(self._wakeups or ()), (wake, context)]

    def cancel(self, msg: object = None) -> bool:  # type: ignore[override]  # a future tells whether
        if self.called:
            return False
        self._ended = self._wakeups is not None
        super().cancel()
        return True


class Waiter(Wait):
    """A wait for a Deferred of somebody else's."""

    def __init__(self, source: Deferred[Any]) -> None:
        super().__init__(lambda _: source.cancel())
        source.addBoth(self._settle)

    def _settle(self, result: Any) -> Any:
        self.settle(result)
        # a failure has been taken, and is no longer to be logged as unhandled
        return None if isinstance(result, Failure) else result


class Promise(Wait):
    """A wait that is fired as any Deferred is, by who makes it."""

    def callback(self, result: Any) -> None:
        self.settle(result)

    def errback(self, fail: Any = None) -> None:
        self.settle(fail if isinstance(fail, Failure) else Failure(fail))


class Answer(Deferred[T]):
    """A Deferred that an asyncio task can await, too."""

    def __await__(self) -> Generator[Any, Any, T]:
        waiter = Waiter(self)
        if waiter.settled is None:
            yield waiter
        return cast("Settled[T]", waiter.settled)()


def answer(source: Deferred[T]) -> Answer[T]:
    """The Deferred's result, awaitable anywhere; cancelling it cancels the source."""
    either: Answer[T] = Answer(lambda _: source.cancel())
    source.addCallbacks(either.callback, either.errback)
    return either


def error_in(failure: Failure) -> Exception:
    """The error of a failure; what is no ``Exception`` is none that may travel as one."""
    error = failure.value
    return error if isinstance(error, Exception) else RuntimeError(f"ended by {error!r}")


class Eventual(Coroutine[Any, Any, T_co]):
    """What has one result, to be awaited as often as one likes, and ``yield``ed to inlineCallbacks.

    Twisted accepts only Deferreds and coroutines there, so this is a coroutine. It keeps no state
    of its own between ``send`` and ``send``: several waits may be under way at the same time.
    """

    __slots__ = ()

    def result(self) -> Deferred[T_co]:
        raise NotImplementedError

    def wait(self) -> Wait:
        """A wait for the result; it may be over already."""
        return Waiter(self.result())

    def __await__(self) -> Generator[Any, Any, T_co]:
        wait = self.wait()
        if wait.settled is None:
            yield wait
        return cast("Settled[T_co]", wait.settled)()

    def send(self, value: Any) -> Any:
        settled = value if isinstance(value, Settled) else None
        if settled is None:
            wait = self.wait()
            if wait.settled is None:
                return wait
            settled = wait.settled
        raise StopIteration(settled())

    def throw(
        self,
        typ: BaseException | type[BaseException],
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> Any:
        raise typ if val is None else cast(BaseException, val)

    def close(self) -> None:
        """Nothing is held open."""


def run(awaitable: Awaitable[T]) -> Deferred[T]:
    """Drive a user's awaitable; it may wait for Deferreds and, on asyncio's loop, for futures."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return Deferred.fromCoroutine(_await(awaitable))
    return Deferred.fromFuture(loop.create_task(_await(_Translated(awaitable))))


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


class _Translated(Awaitable[T]):
    """An awaitable whose Deferreds are yielded as waiters, for an asyncio task."""

    def __init__(self, awaitable: Awaitable[T]) -> None:
        self._awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._awaitable.__await__()
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                wanted = steps.send(value) if error is None else steps.throw(error)
            except StopIteration as end:
                return cast(T, end.value)
            value, error = None, None
            try:
                value = yield from _wait(wanted)
            except BaseException as e:  # noqa: BLE001  # every error belongs to the coroutine
                error = e


def _wait(wanted: Any) -> Generator[Any, Any, Any]:
    if not isinstance(wanted, Deferred) or isinstance(wanted, Wait):
        return (yield wanted)
    waiter = Waiter(wanted)
    if waiter.settled is None:
        yield waiter
    return cast("Settled[Any]", waiter.settled)()
