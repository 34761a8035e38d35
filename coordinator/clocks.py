"""Where the coordinator's times come from."""

from __future__ import annotations

import time

from twisted.internet.base import ReactorBase
from twisted.internet.interfaces import IReactorTime

from .events import Moment


class Clocks:
    """The system's clocks; with a reactor that has a time of its own, that one for both.

    A real reactor's ``seconds`` is the wall clock, whose jumps must not end leases.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        if isinstance(reactor, ReactorBase):
            self.monotonic, self.wall = time.monotonic, time.time
        else:
            self.monotonic = self.wall = reactor.seconds

    def moment(self) -> Moment:
        """Now, on both."""
        return Moment(self.monotonic(), self.wall())
