"""What the slots hold, and what is told of it: beginnings, reports, and what is given back."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut

from ..protocol.ids import Attempt, JobId
from ..protocol.outcomes import Evidence, Report
from ..protocol.ports import Beginning, Holding, WorkerEvents
from . import reports
from .held import UNBEGUN, Held, State, holdings
from .reporting import Reporting
from .resultfiles import Files, Results
from .waiting import Waiting


class Accounts:
    """Every attempt that is here, until its report is acknowledged or it is given back."""

    def __init__(self, reactor: Any, waiting: Waiting, results: Results) -> None:
        self._reactor = reactor
        self._waiting = waiting
        self._results = results
        self._reporting = Reporting(reactor, results)
        self._events: WorkerEvents | None = None
        self._unheard: dict[Held, tuple[Report, Files]] = {}
        self._when_heard: Deferred[None] | None = None
        self.held: dict[tuple[JobId, Attempt], Held] = {}

    def bind(self, events: WorkerEvents | None) -> None:
        """Tell this one from now on."""
        self._events = events
        self._reporting.bind(events)

    def holdings(self) -> list[Holding]:
        """The names of all of them."""
        return [*holdings(list(self.held.values())), *self._reporting.holdings()]

    def unbegun(self) -> list[Held]:
        """Those that no child has."""
        return [held for held in self.held.values() if held.state in UNBEGUN]

    # -- telling ----------------------------------------------------------------------------------

    def begun(self, beginnings: Sequence[Beginning]) -> None:
        """These have been running for a while."""
        if self._events is not None:
            self._events.begun(beginnings)

    def unreadable(self, job: JobId, attempt: Attempt) -> None:
        """It came with a spec that cannot be read."""
        self._reporting.add(reports.malformed(job, attempt))

    def report(self, held: Held, report: Report, files: Files = ()) -> None:
        """It is over; told once who listens to its output has taken all of that."""
        attached = held.attached
        if attached is not None and not attached.over(lambda: self._heard(held)):
            self._unheard[held] = report, files
        else:
            self._report(held, report, files)

    def report_all(self, over: Sequence[tuple[Held, Report]], pause: float) -> None:
        """All of these are over; told at once, or ``pause`` seconds after others were told."""
        fresh: list[Report] = []
        forget = self.held.pop
        for held, report in over:
            if held.attached is not None or held.why == "superseded":
                self.report(held, report)
            else:
                held.state = State.GONE
                forget((held.job, held.attempt), None)
                fresh.append(report)
        self._reporting.tell(fresh, pause)

    def _heard(self, held: Held) -> None:
        waiting = self._unheard.pop(held, None)
        if waiting is not None:
            self._report(held, *waiting)
        when_heard = self._when_heard
        if when_heard is not None and not self._unheard:
            self._when_heard = None
            when_heard.callback(None)

    def _report(self, held: Held, report: Report, files: Files) -> None:
        self._forget(held)
        if held.why != "superseded":
            self._reporting.add(report, files)
        else:
            self._results.discard(files)

    def ended(
        self, held: Held, evidence: Evidence | None, since: float | None, seconds: float
    ) -> None:
        """It was ended, as somebody asked for; or else its child died under it.

        ``since``: when it began, by ``CLOCK_MONOTONIC``; None: it had not.
        """
        began = None if since is None else reports.wall_clock(since)
        if held.why == "stopped":
            self.give_back([held])
        elif held.why is None and evidence is not None and began is not None:
            self.report(held, reports.lost(held, evidence, began, seconds))
        else:
            self.report(held, reports.ended(held, evidence, began, seconds))

    def give_back(self, given_back: Sequence[Held]) -> None:
        """These will not run here, or not to their end; they count nothing."""
        self._waiting.remove(held for held in given_back if held.state is State.WAITING)
        for held in given_back:
            self._forget(held)
        if given_back and self._events is not None:
            self._events.returned(holdings(given_back))

    def _forget(self, held: Held) -> None:
        held.state = State.GONE
        key = held.job, held.attempt
        # another store may have given an attempt of the same name since this one was dropped
        if self.held.get(key) is held:
            del self.held[key]

    def unwanted(self, gone: Collection[Holding]) -> None:
        """Nobody wants to hear of these any more."""
        self._reporting.drop(gone.__contains__)
        for held in [held for held in self._unheard if held.holding() in gone]:
            held.why = "superseded"
            self._heard(held)

    # -- the end ----------------------------------------------------------------------------------

    async def close(self, seconds: float) -> None:
        """Return when all is told. What nobody takes in this time is told without its output; an
        attempt whose result nobody takes is given back."""
        if self._unheard:
            heard = self._when_heard = Deferred()
            with contextlib.suppress(TimedOut):
                await heard.addTimeout(seconds, self._reactor)
        for held in list(self._unheard):
            self._heard(held)
        not_taken = await self._reporting.when_stored(seconds)
        if not_taken and self._events is not None:
            self._events.returned(not_taken)
        self._reporting.flush()
