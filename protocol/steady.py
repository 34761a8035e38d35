"""Time that only goes forward, whatever somebody does to the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004 -- as Twisted names it
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

T = TypeVar("T")

PAUSE = 1.0
"""Seconds by which a timer comes late where this process itself was stopped: by SIGSTOP, by a
debugger, by a machine without time for it. What it then believes of others, it did not see."""


def monotonic_of(reactor: IReactorTime) -> Callable[[], float]:
    """The clock to measure durations with: a real reactor's own is the wall clock.

    Anything else, as a test's, has one time for everything.
    """
    return time.monotonic if isinstance(reactor, ReactorBase) else reactor.seconds


def patiently(waiting: Deferred[T], seconds: float, reactor: IReactorTime) -> Deferred[T]:
    """Have ``waiting`` cancelled after so many seconds; it fails with Twisted's ``TimeoutError``.

    Where this process stood still meanwhile, what it waits for may be there already, and gets the
    same time once more.
    """
    now = monotonic_of(reactor)
    over = False
    call: IDelayedCall | None = None

    def wait() -> None:
        nonlocal call
        call = reactor.callLater(seconds, look, now() + seconds)

    def look(due: float) -> None:
        nonlocal over
        if now() > due + PAUSE:
            wait()
        else:
            over = True
            waiting.cancel()

    def ended(result: T | Failure) -> T | Failure:
        if call is not None and call.active():
            call.cancel()
        if over and isinstance(result, Failure):
            raise TimeoutError(f"no answer within {seconds:g} s")
        return result

    wait()
    return waiting.addBoth(ended)


def make_steady(reactor: Any) -> None:
    """Have a reactor's delayed calls follow the monotonic clock, from now on.

    By the wall clock, as Twisted has it, an hour back makes every timer an hour late, and an hour
    forward makes all of them due. For processes of our own, at their start; calls that wait
    already keep their distance. ``reactor.seconds()`` is no time of day then; of Twisted's own
    parts, only the access log of ``twisted.web`` takes it for one.
    """
    if not isinstance(reactor, ReactorBase) or reactor.seconds is time.monotonic:
        return
    ahead = time.monotonic() - reactor.seconds()
    reactor.seconds = time.monotonic
    # cancelled ones, too, which getDelayedCalls leaves out: they stand in the same heap
    for call in [*reactor._pendingTimedCalls, *reactor._newTimedCalls]:
        call.time += ahead
        call.seconds = time.monotonic
