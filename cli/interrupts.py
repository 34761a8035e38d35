"""Ctrl-C: the first one asks, the second one cancels; who waits is let go, the job goes on."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from .failures import Exit, say

if TYPE_CHECKING:
    from .connection import Link

SECOND_CHANCE = 3.0
"""Seconds in which a second Ctrl-C cancels."""

Decision = Literal["detach", "cancel", "leave"]


class Interrupts:
    """Counts Ctrl-C and calls ``decide`` with what is meant.

    ``detach`` comes when no second one follows within ``SECOND_CHANCE``; ``cancel`` with the
    second one, or with the first where ``own``, since a pool of our own ends with us; ``leave``
    with one more after that. With ``is_lost``, no coordinator can be reached: ``detach`` at once.
    """

    def __init__(
        self,
        clock: IReactorTime,
        own: bool,
        decide: Callable[[Decision], object],
        is_lost: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clock = clock
        self._own = own
        self._decide = decide
        self._is_lost = is_lost
        self._timer: IDelayedCall | None = None
        self.cancelled = False

    def pressed(self) -> None:
        """Ctrl-C was pressed."""
        if self.cancelled:
            self._decide("leave")
        elif self._own or self._timer is not None:
            self.stop()
            self.cancelled = True
            self._decide("cancel")
        elif self._is_lost():
            self._decide("detach")  # nobody can be told to cancel
        else:
            say("interrupted: Ctrl-C again within 3 s cancels; else it goes on without you")
            self._timer = self._clock.callLater(SECOND_CHANCE, self._alone)

    def _alone(self) -> None:
        self._timer = None
        self._decide("detach")

    def stop(self) -> None:
        """Nothing is decided any more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


class Left(Exception):  # no error: the user has gone away
    """The user has detached, or has left before the end."""


def tell_left(link: Link, what: str, way_back: str) -> None:
    """Say how to come back to what goes on without us, as far as that is known."""
    if link.own:
        return
    if link.lost:
        say(f"left {what}, whose coordinator cannot be reached")
        tell_kept(what, way_back)
    else:
        say(f"{what} goes on without you; come back with: {way_back}")


def tell_kept(what: str, way_back: str) -> None:
    """Say how to come back to what was accepted by a coordinator that went away."""
    say(
        f"unless it was ephemeral, it has {what} on its disk, and goes on with it when it is "
        f"there again; then: {way_back}"
    )


async def attended(
    reactor: Any, link: Link, work: Deferred[int], cancel: Callable[[], Deferred[Any]]
) -> int:
    """Wait for the work, with Ctrl-C as ``Interrupts`` has it.

    ``cancel`` is to end the jobs; the work is then waited for, and the exit code tells it.

    Raises:
        Left: the user has detached; the work's Deferred was cancelled.
    """
    from twisted.internet.defer import CancelledError

    left = False

    def decide(decision: Decision) -> None:
        nonlocal left
        if decision == "cancel":
            say("cancelling")
            cancel().addErrback(lambda _: None)
            return
        left = True
        work.cancel()

    interrupts = Interrupts(reactor, link.own, decide, lambda: link.lost)
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda *_: reactor.callFromThread(interrupts.pressed))
    try:
        answer = await work
        return Exit.INTERRUPTED if interrupts.cancelled else answer
    except CancelledError:
        if left:
            raise Left from None
        raise
    finally:
        interrupts.stop()
        signal.signal(signal.SIGINT, before)
