"""The one thread that uses a store's file: it does one thing after the other, as they were asked.

A thread pool does the same in three times the time, and a lone job waits for that at each commit.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

T = TypeVar("T")

_Work = tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]


class StoreThread:
    """Begins with its making."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._asked: SimpleQueue[_Work | None] = SimpleQueue()
        # a process that ends without closing its store is not held up by an idle thread
        self._thread = Thread(target=self._go, name="store", daemon=True)
        self._thread.start()

    def do(self, work: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Have it call a function; fires in the reactor's thread with what that returns."""
        done: Deferred[T] = Deferred()
        self._asked.put((done, work, arguments))
        return done

    def stop(self) -> None:
        """Blocking: let it finish what it was asked for, and end."""
        self._asked.put(None)
        self._thread.join()

    def _go(self) -> None:
        told = self._reactor.callFromThread
        while (asked := self._asked.get()) is not None:
            done, work, arguments = asked
            try:
                result = work(*arguments)
            except BaseException:  # noqa: BLE001 -- whatever it is, who asked is told
                told(done.errback, Failure())
            else:
                told(done.callback, result)
                del result
            del asked, done, work, arguments  # nothing is held while it waits
