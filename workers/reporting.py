"""Reports on their way: gathered for a reactor turn, or for longer while there is more to do; kept
until they are acknowledged."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, FirstError, maybeDeferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..protocol.errors import CoordinatorLost, Disconnected, StorageFull
from ..protocol.limits import FRAME_JOBS
from ..protocol.outcomes import Ending, ErrorText, Outcome, Report, pack_outcome
from ..protocol.ports import Holding, WorkerEvents
from .resultfiles import Files, Results
from .room import Room


class Reporting:
    """Stores what a report refers to, then sends it, again after each ``bind`` if need be."""

    _log = Logger()

    def __init__(self, reactor: Any, results: Results) -> None:
        self._reactor = reactor
        self._results = results
        self._events: WorkerEvents | None = None
        self._numbers = itertools.count()
        self._sent: dict[int, list[Report]] = {}
        self._fresh: list[Report] = []
        self._storing: dict[int, tuple[Report, Files, Deferred[Any] | None]] = {}
        self._room = Room(reactor, SystemRandom(), self._store_again)
        self._refused: set[int] = set()
        self._armed: Any = None
        self._at_once = False  # whether that is at the end of this turn
        self._flushed = -math.inf
        self._when_stored: Deferred[None] | None = None

    def bind(self, events: WorkerEvents | None) -> None:
        """Tell this one from now on; what the one before did not acknowledge is told again."""
        self._events = events
        if events is None:
            return
        again = [report for reports in self._sent.values() for report in reports]
        self._sent.clear()
        self._fresh = again + self._fresh
        storing, self._storing = self._storing, {}
        for report, files, _ in storing.values():
            self.add(report, files)
        if self._fresh:
            self._arm()

    def add(self, report: Report, files: Files = ()) -> None:
        """Report this, once the files that it refers to are stored."""
        if not files:
            self._fresh.append(report)
            self._arm()
            return
        number = next(self._numbers)
        self._storing[number] = (report, files, None)
        self._store(number)

    def tell(self, reports: Sequence[Report], pause: float = 0.0) -> None:
        """Report these, and all that waits: now, or ``pause`` seconds after the last ones. What
        waits then goes with whatever is told before, or when a frame is full."""
        self._fresh += reports
        wait = self._flushed + pause - self._reactor.seconds() if pause else 0.0
        if 0.0 < wait <= pause and len(self._fresh) < FRAME_JOBS:  # the clock may have been set
            self._arm(wait)
        else:
            self.flush()

    def _store(self, number: int) -> None:
        report, files, _ = self._storing[number]
        events = self._events
        if events is not None:
            store = events.store
            calls = [maybeDeferred(self._results.store, store, *file) for file in files]
            stored: Deferred[Any] = DeferredList(calls, fireOnOneErrback=True, consumeErrors=True)
            self._storing[number] = (report, files, stored)
            stored.addCallbacks(
                lambda _: self._stored(number), lambda failure: self._not_stored(number, failure)
            )

    def _store_again(self) -> None:
        refused, self._refused = self._refused, set()
        for number in sorted(refused & self._storing.keys()):
            self._store(number)

    def _stored(self, number: int) -> None:
        report, *_ = self._storing.pop(number, (None,))
        if report is not None:
            self._room.taken()
            self.add(report)
        self._tell_when_stored()

    def _not_stored(self, number: int, failure: Failure) -> None:
        """Refused: the job has failed. A connection that went: tried again at the next one."""
        first = failure.value
        error = first.subFailure.value if isinstance(first, FirstError) else first
        if isinstance(error, CoordinatorLost | Disconnected | CancelledError):
            return
        if isinstance(error, StorageFull):  # the file stays
            self._refused.add(number)
            self._room.refused(str(error))
            return
        report, files, _ = self._storing.pop(number, (None, (), None))
        if report is not None:
            self._results.discard(files)
            message = f"the result cannot be stored: {error}"
            text = ErrorText(type(error).__qualname__, message, f"{message}\n")
            body = pack_outcome(Outcome(error=text))
            self.add(report._replace(ending=Ending.FAILED, body=body, blobs=()))
        self._tell_when_stored()

    def _arm(self, wait: float = 0.0) -> None:
        """Send soon: at the end of this turn, if not a wait is given. The first call counts where
        none asks for less."""
        if self._armed is not None:
            if wait or self._at_once:
                return
            self._armed.cancel()
            self._armed = None
        if self._events is not None:
            self._at_once = not wait
            self._armed = self._reactor.callLater(wait, self.flush)

    def flush(self) -> None:
        """Send what has gathered."""
        if self._armed is not None and self._armed.active():
            self._armed.cancel()
        self._armed = None
        if self._events is None or not self._fresh:
            return
        number = next(self._numbers)
        self._flushed = self._reactor.seconds()
        reports, self._fresh = self._fresh, []
        self._sent[number] = reports
        maybeDeferred(self._events.finished, reports).addCallbacks(
            lambda _: self._acknowledged(number), lambda _: None
        )

    def _acknowledged(self, number: int) -> None:
        self._sent.pop(number, None)

    async def when_stored(self, seconds: float) -> list[Holding]:
        """Returns when no file is left to be stored, or when the time is over: the attempts whose
        results nobody has taken, and which are forgotten here."""
        if self._storing:
            stored = self._when_stored = Deferred()
            with contextlib.suppress(TimedOut):
                await stored.addTimeout(seconds, self._reactor)
        self._when_stored = None
        self._room.forget()
        left = [Holding(report.job, report.attempt) for report, *_ in self._storing.values()]
        self.drop(set(left).__contains__)
        return left

    def _tell_when_stored(self) -> None:
        stored, self._when_stored = self._when_stored, None
        if stored is None or self._storing:
            self._when_stored = stored
        else:
            stored.callback(None)

    def _each(self) -> list[Report]:
        sent = [report for reports in self._sent.values() for report in reports]
        return [*sent, *self._fresh, *(report for report, *_ in self._storing.values())]

    def holdings(self) -> list[Holding]:
        """The attempts whose report is not acknowledged."""
        return [Holding(report.job, report.attempt) for report in self._each()]

    def drop(self, unwanted: Callable[[Holding], bool]) -> None:
        """Forget these reports."""

        def keep(reports: Sequence[Report]) -> list[Report]:
            return [r for r in reports if not unwanted(Holding(r.job, r.attempt))]

        self._fresh = keep(self._fresh)
        self._sent = {number: keep(reports) for number, reports in self._sent.items()}
        for number, (report, files, stored) in list(self._storing.items()):
            if unwanted(Holding(report.job, report.attempt)):
                del self._storing[number]
                if stored is not None:
                    stored.cancel()
                self._results.discard(files)
        self._tell_when_stored()
