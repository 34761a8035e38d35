"""Which executions a fault may have cost: those in flight on the process that it struck."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from .chaos_history import ALL_WORKERS, Ended, Started, Struck

REPORTING = 2.0
"""Seconds after its end for which an execution may not be recorded yet."""

AFTERMATH = 45.0
"""Seconds after the end of a lasting fault in which its consequences come: a silence is noticed
(15 s), a lease ends (5 s), a worker that was away tries again (every 15 s at most)."""

DYING = 1.0
"""Seconds for which the children of an agent that was killed may go on."""

COORDINATOR = "coordinator"
"""The target of faults that keep all reports from being recorded."""


class Strikes:
    """The faults of a run, and what each of them reached."""

    def __init__(self, struck: Iterable[Struck]) -> None:
        self.all = sorted(struck)
        self._costly: dict[int, list[Struck]] = defaultdict(list)
        self._outages: dict[int, list[Struck]] = defaultdict(list)
        for one in self.all:
            if one.pid is not None:
                self._costly[one.pid].append(one)
            if one.target == COORDINATOR:
                self._outages[ALL_WORKERS].append(one)
            elif one.pid is not None and one.until > one.at:
                self._outages[one.pid].append(one)

    def hit(self, run: Started, end: Ended | None) -> bool:
        """Whether a fault may have cost this execution its report."""
        open_until = float("inf") if end is None else self._recorded(run, end)
        for one in self._of(self._costly, run):
            if one.at <= open_until and run.at <= self._over(one):
                return True
        return False

    def _recorded(self, run: Started, end: Ended) -> float:
        """When the report of an execution is recorded at the latest."""
        latest = end.at + REPORTING
        outages = sorted([*self._outages[ALL_WORKERS], *self._outages.get(run.agent, ())])
        for one in outages:
            if one.at <= latest and end.at <= one.until + AFTERMATH:
                latest = max(latest, one.until + AFTERMATH)
        return latest

    def _over(self, one: Struck) -> float:
        """Until when executions that begin may still be cost by this fault."""
        return one.until + (AFTERMATH if one.until > one.at else DYING)

    def _of(self, struck: dict[int, list[Struck]], run: Started) -> Iterable[Struck]:
        for pid in (run.agent, run.pid, ALL_WORKERS):
            yield from struck.get(pid, ())
