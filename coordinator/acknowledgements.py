"""What sessions say that they have: taken in together, since nobody waits for it.

Each look of the scheduler costs as much as a job. Few acknowledgements wait for more, so that they
stand in no lone job's way; many of them are taken in at the end of the turn that they come in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ..protocol.ids import JobId, SessionId

WAIT: Final = 0.005
"""Seconds that few of them wait at most."""

MANY: Final = 32
"""Jobs that do not wait."""


class Acknowledgements:
    """Those of all sessions that the scheduler does not know of."""

    __slots__ = ("_arm", "_count", "_jobs", "_reactor", "_take", "_timer")

    def __init__(
        self,
        reactor: IReactorTime,
        take: Callable[[SessionId, Sequence[JobId]], object],
        arm: Callable[[], object],
    ) -> None:
        """``arm`` has this turn end with ``end_turn``."""
        self._reactor = reactor
        self._take = take
        self._arm = arm
        self._jobs: dict[SessionId, list[JobId]] = {}
        self._count = 0
        self._timer: IDelayedCall | None = None

    def add(self, session: SessionId, jobs: Sequence[JobId]) -> None:
        """A session has the outcomes of these."""
        self._jobs.setdefault(session, []).extend(jobs)
        self._count += len(jobs)
        if self._count >= MANY:
            self._arm()
        elif self._timer is None:
            self._timer = self._reactor.callLater(WAIT, self._due)

    def end_turn(self) -> None:
        """Take them in, if there are many."""
        if self._count >= MANY:
            self.settle()

    def settle(self) -> None:
        """Take them in before anything else happens."""
        if self._jobs:
            jobs, self._jobs = self._jobs, {}
            self._count = 0
            for session, some in jobs.items():
                self._take(session, some)

    def _due(self) -> None:
        self._timer = None
        self.settle()

    def stop(self) -> None:
        """There is nobody any more who would take them in."""
        self.settle()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
