"""The tick of a pool while its children are busy: one timer for all that depends on time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from ..protocol.ports import Beginning
from ..protocol.steady import PAUSE
from .crew import Crew
from .held import Held
from .process import Child
from .reports import wall_clock
from .waiting import Waiting

TICK: Final = 0.025
ANNOUNCED_AFTER: Final = 0.02
"""Seconds after which a running job's beginning is told apart from its end."""
RELIEVED_AFTER: Final = 0.025
"""Seconds after which a running job's child loses what it has not begun."""
RETURNED_AFTER: Final = 0.05
"""Seconds that a job waits behind longer ones before it is given back."""
_SAMPLED_EACH = 10
_KEPT_PAUSES = 64


class LookoutOwner(Protocol):
    """Who acts on what was seen."""

    def begun(self, beginnings: Sequence[Beginning]) -> None:
        """These have been running for a while."""

    def relieve(self, child: Child) -> None:
        """Take back what this child has not begun."""

    def time_out(self, held: Held) -> None:
        """This one has run for longer than it may."""

    def give_back(self, late: Sequence[Held]) -> None:
        """These have waited too long behind long ones."""


class Lookout:
    """Looks at what runs and at what waits, each ``TICK``, while anything runs."""

    def __init__(
        self,
        reactor: Any,
        slots: int,
        crew: Crew,
        waiting: Waiting,
        owner: LookoutOwner,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reactor = reactor
        self._slots = slots
        self._crew = crew
        self._waiting = waiting
        self._owner = owner
        self._clock = clock
        self._timer: Any = None
        self._ticks = 0
        self._due = 0.0
        self._pauses: deque[tuple[float, float]] = deque(maxlen=_KEPT_PAUSES)

    def see_to_it(self) -> None:
        """Tick, if there is something to look at."""
        if self._timer is None and any(child.busy for child in self._crew.children()):
            self._timer = self._reactor.callLater(TICK, self._tick)
            self._due = self._clock() + TICK

    def stop(self) -> None:
        """No more ticks."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        self._ticks += 1
        now = self._clock()
        if now - self._due > PAUSE:
            self._pauses.append((now, now - self._due))
        begun: list[Beginning] = []
        behind = 0
        for child in list(self._crew.children()):
            if child.busy:
                child.look()
            running = child.running_since() if child.busy else None
            if running is not None:
                elapsed = now - running[1]
                behind += elapsed > RETURNED_AFTER
                self._look_at(child, *running, elapsed, begun)
        if begun:
            self._owner.begun(begun)
        if behind == self._slots and len(self._waiting):
            late = self._reactor.seconds() - RETURNED_AFTER
            self._owner.give_back([held for held in self._waiting if held.since < late])
        self.see_to_it()

    def _look_at(
        self, child: Child, held: Held, mark: float, elapsed: float, begun: list[Beginning]
    ) -> None:
        """See to one running job: its beginning's telling, what is behind it, its time-out."""
        if elapsed > ANNOUNCED_AFTER and not held.announced:
            held.announced = True
            begun.append(Beginning(held.job, held.attempt, wall_clock(mark)))
        if elapsed > RELIEVED_AFTER and child.unbegun():
            self._owner.relieve(child)
        timeout = held.plan.spec.timeout
        if timeout is not None and elapsed - self._asleep(mark) > timeout and held.why is None:
            self._owner.time_out(held)
        if self._ticks % _SAMPLED_EACH == 0:
            child.sample_memory()

    def _asleep(self, mark: float) -> float:
        """Seconds since then in which this process was stopped, and maybe the job with it."""
        return sum(seconds for at, seconds in self._pauses if at > mark)
