"""Deliveries to one session: frames, a bound on those unanswered, the rest read when it is due."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from operator import attrgetter

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.columns import tuples
from ..protocol.errors import Disconnected
from ..protocol.ids import JobId
from ..protocol.limits import FRAME_BYTES, FRAME_JOBS, FRAMES_IN_FLIGHT
from ..protocol.outcomes import Delivery, without_value
from ..protocol.ports import ClientPort
from .kept import Stored
from .store import Store

RECORD_BYTES = 16
"""What an outcome adds to a frame besides its body, as sessions reckon: what is sent at once is one
frame there, and acknowledged as one."""

BYTES_IN_FLIGHT = FRAMES_IN_FLIGHT * FRAME_BYTES
"""Bytes of outcomes that one session was sent and has not acknowledged, and the rest of a frame."""

FIRST_READ = 8
"""Outcomes that are read from a disk at once, before it is known how large they are."""

RECENT_BYTES = 8 << 20
RECENT_JOBS = 8192
"""What is kept in memory of outcomes that were stored a moment ago."""

_ENDING, _BODY = attrgetter("ending"), attrgetter("body")


class Recent:
    """Outcomes that were stored a moment ago: most are on their way at once, without being read."""

    def __init__(self) -> None:
        self._outcomes: dict[JobId, Stored] = {}
        self._bytes = 0

    def add(self, job: JobId, outcome: Stored) -> None:
        """Keep an outcome until it was delivered, or there are too many bytes of others."""
        self._outcomes[job] = outcome
        self._bytes += len(outcome.body)
        while self._bytes > RECENT_BYTES or len(self._outcomes) > RECENT_JOBS:
            self._remove(next(iter(self._outcomes)))

    def drop(self, jobs: Sequence[JobId]) -> None:
        """These were delivered."""
        if self._outcomes:
            for job in jobs:
                if job in self._outcomes:
                    self._remove(job)

    def _remove(self, job: JobId) -> None:
        self._bytes -= len(self._outcomes.pop(job).body)

    def outcomes(self, jobs: Sequence[JobId]) -> list[Stored | None] | None:
        """The outcomes of these jobs; None where one of them is not here."""
        found = self._outcomes
        if not all(map(found.__contains__, jobs)):
            return None
        return [found[job] for job in jobs]


class Outbox:
    """What is on its way to one connection of a session. It holds ids; bodies are in the store."""

    _log = Logger()

    def __init__(
        self,
        port: ClientPort,
        store: Store,
        recent: Recent,
        acknowledged: Callable[[Sequence[JobId]], None],
        told: Callable[[Sequence[JobId]], Sequence[JobId]],
        foreign: Collection[JobId] = (),
    ) -> None:
        """``told``: those of some jobs of whose output nothing is on its way any more;
        ``foreign``: jobs of other clients, whose values are not told."""
        self._port = port
        self._frame_jobs: int = getattr(port, "frame_jobs", FRAME_JOBS)
        self._store = store
        self._recent = recent
        self._acknowledged = acknowledged
        self._told = told
        self._foreign = foreign
        self._waiting: deque[JobId] = deque()
        self._in_flight = self._bytes = 0
        self._portion = FIRST_READ
        self._busy = False
        self._closed = False

    def add(self, jobs: Sequence[JobId]) -> None:
        """Outcomes to be delivered; ``flush`` sends them."""
        self._waiting.extend(jobs)

    def close(self) -> None:
        """The connection is gone."""
        self._closed = True
        self._waiting.clear()

    def flush(self) -> None:
        """Send what may be sent now."""
        while self._waiting and not (self._busy or self._closed):
            if self._in_flight >= FRAMES_IN_FLIGHT or self._bytes >= BYTES_IN_FLIGHT:
                return
            self._busy = True
            jobs = self._next_jobs()
            if not jobs:
                self._busy = False
                return
            stored = self._recent.outcomes(jobs) or self._read(jobs)
            if isinstance(stored, Deferred):
                stored.addCallback(self._have_read, jobs)
                stored.addErrback(self._not_read)
            else:
                self._send(stored, jobs)

    def _read(self, jobs: list[JobId]) -> list[Stored | None] | Deferred[list[Stored | None]]:
        """From a disk only as many at once as may be held in memory, by those read last."""
        if self._store.durable:
            self._waiting.extendleft(reversed(jobs[self._portion :]))
            del jobs[self._portion :]
        return self._store.outcomes(jobs)

    def _next_jobs(self) -> list[JobId]:
        """Jobs for one frame; those with output on its way wait for it."""
        jobs = list(islice(self._waiting, self._frame_jobs))
        ready = self._told(jobs)
        for _ in jobs:
            self._waiting.popleft()
        if len(ready) < len(jobs):
            going = set(ready)
            self._waiting.extendleft(job for job in reversed(jobs) if job not in going)
        return list(ready)

    def _have_read(self, stored: list[Stored | None], jobs: list[JobId]) -> None:
        size = sum(len(one.body) for one in stored if one is not None)
        more = self._portion * 2 if size < FRAME_BYTES else self._portion // 2
        self._portion = min(max(1, more), FRAME_JOBS)
        self._send(stored, jobs)
        self.flush()

    def _not_read(self, failure: Failure) -> None:
        self._busy = False
        self._log.failure("outcomes cannot be read", failure)

    def _send(self, stored: list[Stored | None], jobs: list[JobId]) -> None:
        """Send the frame that these jobs fill; what is beyond it waits for the next one."""
        self._busy = False
        if self._closed:
            return
        deliveries, size, taken = self._fill_frame(stored, jobs)
        self._waiting.extendleft(reversed(jobs[taken:]))
        if not deliveries:
            return
        self._in_flight += 1
        self._bytes += size
        sent = self._port.delivered(deliveries)
        sent.addCallbacks(
            self._answered,
            self._not_delivered,
            callbackArgs=([d.job for d in deliveries], size),
            errbackArgs=(size,),
        )
        sent.addErrback(self._not_told)

    def _fill_frame(
        self, stored: list[Stored | None], jobs: list[JobId]
    ) -> tuple[list[Delivery], int, int]:
        """The deliveries of one frame, their bytes, and how many of the jobs that were."""
        known = [one for one in stored if one is not None]
        size = sum(map(len, map(_BODY, known))) + RECORD_BYTES * len(known)
        if size < FRAME_BYTES and len(known) == len(jobs) and not self._foreign:
            return tuples(Delivery, jobs, map(_ENDING, known), map(_BODY, known)), size, len(jobs)
        deliveries, size, taken = [], 0, 0
        for job, outcome in zip(jobs, stored, strict=True):
            taken += 1
            if outcome is not None:
                body = outcome.body if job not in self._foreign else without_value(outcome.body)
                deliveries.append(Delivery(job, outcome.ending, body))
                size += len(body) + RECORD_BYTES
                if size >= FRAME_BYTES:
                    break
        return deliveries, size, taken

    def _answered(self, _: None, jobs: list[JobId], size: int) -> None:
        self._in_flight -= 1
        self._bytes -= size
        self._recent.drop(jobs)
        if not self._closed:
            self._acknowledged(jobs)
            self.flush()

    def _not_delivered(self, failure: Failure, size: int) -> None:
        """They are owed still, and are delivered when the session comes back."""
        if failure.check(Disconnected) is None:
            self._in_flight -= 1
            self._bytes -= size
            self._log.failure("outcomes were not taken", failure)
            self.flush()

    def _not_told(self, failure: Failure) -> None:
        self._log.failure("what was delivered could not be dealt with", failure)
