"""Who did what, for the log: by credential, counted, a line a second and session at most."""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from ..protocol.ids import ClientId

TOGETHER = 1.0
"""Seconds of which one line tells."""


class Journal:
    """What one session has done. Without a clock it is told when the session ends."""

    log = Logger()

    def __init__(self, clock: IReactorTime | None, client: ClientId, peer: str) -> None:
        self._clock = clock
        self._client = client
        self._peer = peer
        self._counts: dict[str, int] = {}
        self._call: IDelayedCall | None = None

    def count(self, what: str, jobs: int) -> None:
        """So many jobs more were ``submitted``, ``cancelled``, ..."""
        self._counts[what] = self._counts.get(what, 0) + jobs
        if self._call is None and self._clock is not None:
            self._call = self._clock.callLater(TOGETHER, self._tell)

    def note(self, what: str) -> None:
        """Something that happens seldom."""
        self.log.info("{client} {what}, {peer}", client=self._client, what=what, peer=self._peer)

    def end(self) -> None:
        """The session is over."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._tell()

    def _tell(self) -> None:
        self._call = None
        counts, self._counts = self._counts, {}
        if counts:
            told = ", ".join(f"{what} {jobs}" for what, jobs in counts.items())
            self.note(f"{told} {'job' if sum(counts.values()) == 1 else 'jobs'}")
