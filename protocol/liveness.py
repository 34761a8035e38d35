"""Whether a peer is there: it is asked when it is silent, and given up when it stays so."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from . import limits
from .steady import PAUSE, monotonic_of


class Liveness:
    """Looks once an interval. Without a clock it never looks.

    A look that comes late says that this process was stopped, and heard nothing because of that:
    the peer gets that time on top, and an interval at least, since what it sent meanwhile may
    still wait in the socket.
    """

    __slots__ = ("_ask", "_call", "_clock", "_due", "_give_up", "_heard", "_now", "blocked", "deaf")

    def __init__(
        self,
        clock: IReactorTime | None,
        ask: Callable[[], object],
        give_up: Callable[[str], object],
    ) -> None:
        self._clock = clock
        self._now: Callable[[], float] = _never if clock is None else monotonic_of(clock)
        self._ask = ask
        self._give_up = give_up
        self._heard = self._now()
        self._due = 0.0
        self._call: IDelayedCall | None = None
        self.blocked: float | None = None
        """Since when the peer takes nothing of what is sent to it."""
        self.deaf = False
        """We do not read: its silence is ours."""

    def heard(self) -> None:
        """Something has come."""
        self._heard = self._now()

    def takes(self, anything: bool) -> None:
        """Whether the peer takes what is sent to it."""
        self.blocked = None if anything else self._now()

    def begin(self) -> None:
        self.heard()
        self._look_later()

    def end(self) -> None:
        self._clock = None
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _look_later(self) -> None:
        if self._clock is not None:
            self._due = self._now() + limits.PING_INTERVAL
            self._call = self._clock.callLater(limits.PING_INTERVAL, self._look)

    def _look(self) -> None:
        now = self._now()
        if now - self._due > PAUSE:
            self._was_stopped(now, now - self._due)
        if self.blocked is not None:
            self._judge_blocked(now - self.blocked)
        elif not self.deaf:
            self._judge_silent(now - self._heard)
        self._look_later()

    def _was_stopped(self, now: float, late: float) -> None:
        self._heard = min(max(self._heard + late, now - limits.PING_INTERVAL), now)
        if self.blocked is not None:
            rest = limits.BLOCKED_DEADLINE - limits.PING_INTERVAL
            self.blocked = min(max(self.blocked + late, now - rest), now)

    def _judge_blocked(self, seconds: float) -> None:
        if seconds >= limits.BLOCKED_DEADLINE:
            self._given_up(f"it has taken nothing for {seconds:.0f} s")

    def _judge_silent(self, seconds: float) -> None:
        if seconds >= limits.PING_DEADLINE:
            self._given_up(f"nothing was heard of it for {seconds:.0f} s")
        elif seconds >= limits.PING_INTERVAL:
            self._ask()

    def _given_up(self, why: str) -> None:
        self._clock = None
        self._give_up(why)


def _never() -> float:
    return 0.0
