"""A reactor for programs that have none: in a thread of its own, once a process.

What the reactor's thread tells others goes through bare locks, which are C: Ctrl-C may come at any
bytecode of the main thread, and would leave the inner lock of an ``Event``, a ``Condition`` or a
``Future`` held for ever, for which the reactor would wait then.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python import threadable
from twisted.python.failure import Failure

from ..protocol.errors import PoolClosed, WrongThread
from ..protocol.steady import make_steady

T = TypeVar("T")

_TICK = 0.05
"""Seconds between looks whether the main thread has ended."""

_LOOK = 1.0
"""Seconds after which who waits looks whether the reactor still runs."""

_starting = threading.Lock()
_thread: threading.Thread | None = None
_soon: deque[Callable[[], object]] = deque()


def forbid_reactor_thread() -> None:
    """Raises WrongThread: this is the reactor's thread, and would wait for itself."""
    if threadable.isInIOThread() and _reactor_runs():
        raise WrongThread(
            "the blocking pool cannot be used on the reactor's thread; use ampacity.Pool there"
        )


def _reactor_runs() -> bool:
    from sys import modules

    return bool(getattr(modules.get("twisted.internet.reactor"), "running", False))


def start() -> Any:
    """The reactor, which runs when this returns: one that runs already, or ours.

    Raises:
        PoolClosed: it ran, and has stopped; no reactor can be started twice.
    """
    global _thread
    with _starting:
        from twisted.internet import reactor

        ours: Any = reactor
        if not ours.running:
            if _thread is not None:
                raise PoolClosed("the reactor has stopped, and cannot be started again")
            make_steady(ours)
            runs = _held()
            _thread = threading.Thread(target=_run, args=(ours, runs), name="ampacity-reactor")
            _thread.start()
            runs.acquire()
    return ours


def _held() -> threading.Lock:
    """A lock to wait for: whoever releases it has done what is waited for."""
    lock = threading.Lock()
    lock.acquire()
    return lock


def _run(reactor: Any, runs: threading.Lock) -> None:
    reactor.callWhenRunning(_stop_with_main_thread, reactor)
    reactor.callWhenRunning(runs.release)
    reactor.run(installSignalHandlers=False)


def _stop_with_main_thread(reactor: Any) -> None:
    _call_all()  # who was interrupted may have told nobody
    if threading.main_thread().is_alive():
        reactor.callLater(_TICK, _stop_with_main_thread, reactor)
    else:
        reactor.stop()


# -- from other threads ---------------------------------------------------------------------------


def soon(function: Callable[[], object]) -> None:
    """Call on the reactor's thread, in order; what comes together is called together."""
    _soon.append(function)
    if len(_soon) == 1:
        start().callFromThread(_call_all)


def _call_all() -> None:
    while _soon:
        # it leaves after its call: who finds the queue empty is the one who wakes us
        _soon[0]()
        _soon.popleft()


def wait(
    begin: Callable[[], Deferred[T]],
    timeout: float | None = None,
    interrupted: Callable[[], object] | None = None,
) -> T:
    """Call on the reactor's thread, and wait for the result.

    Raises:
        TimeoutError: it has not come within ``timeout`` seconds; it is not waited for any more.
        WrongThread: this is the reactor's thread.
    """
    forbid_reactor_thread()
    reactor = start()
    answer: _Answer[T] = _Answer()

    def go() -> None:
        maybeDeferred(begin).addCallbacks(answer.succeed, answer.fail)

    try:
        reactor.callFromThread(go)
        _wait_for(answer.there, reactor, timeout)
    except TimeoutError:
        raise
    except BaseException:
        if interrupted is not None:
            reactor.callFromThread(maybeDeferred, interrupted)
        raise
    return answer.get()


class _Answer(Generic[T]):
    """What the reactor's thread has found, for one that waits for it."""

    __slots__ = ("_error", "_value", "there")

    def __init__(self) -> None:
        self.there = _held()
        self._error: BaseException | None = None
        self._value: T

    def succeed(self, value: T) -> None:
        self._value = value
        self.there.release()

    def fail(self, failure: Failure) -> None:
        self._error = failure.value
        self.there.release()

    def get(self) -> T:
        """Once it is there."""
        if self._error is None:
            return self._value
        try:
            raise self._error
        finally:
            self._error = None  # its traceback refers to this frame


def _wait_for(there: threading.Lock, reactor: Any, timeout: float | None) -> None:
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        left = _LOOK if until is None else min(until - time.monotonic(), _LOOK)
        if there.acquire(timeout=max(left, 0)):
            return
        if until is not None and time.monotonic() >= until:
            raise TimeoutError(f"no result within {timeout:g} s")
        if not reactor.running:
            if there.acquire(timeout=_LOOK):
                return
            raise PoolClosed("the reactor has stopped")


def call(function: Callable[[], T]) -> T:
    """Call on the reactor's thread, and wait for its value."""
    boxed: list[T] = wait(lambda: maybeDeferred(_boxed, function))
    return boxed[0]


def _boxed(function: Callable[[], T]) -> list[T]:
    """A value that may be a Deferred or awaitable, which is not to be waited for."""
    return [function()]
