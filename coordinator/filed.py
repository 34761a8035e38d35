"""Ids of one session's jobs that are read in pages, by ascending ids, while they come and go."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from heapq import nsmallest

from ..protocol.ids import JobId

FEW = 1000
"""Ids that are looked through for a page; more are put in order once, for all pages."""


class Filed:
    """Many ids: one more, one less and one page take no time that grows with their number, but for
    the first page, which puts them in order (a million: 14 ms; to look through them, 44 a page)."""

    __slots__ = ("_order", "_start", "jobs")

    def __init__(self) -> None:
        self.jobs: dict[JobId, None] = {}
        self._order: list[JobId] | None = None
        """All of them, and some that are gone."""
        self._start = 0
        """Before this place, all are gone."""

    def add(self, job: JobId) -> None:
        """One more."""
        self.jobs[job] = None
        order = self._order
        if order is None:
            return
        place = bisect_left(order, job)
        if place == len(order) or order[place] != job:
            order.insert(place, job)
        self._start = min(self._start, place)

    def add_all(self, jobs: Sequence[JobId]) -> None:
        """Some more."""
        if self._order is None:
            self.jobs.update(dict.fromkeys(jobs))
        else:
            for job in jobs:
                self.add(job)

    def above(self, after: JobId, limit: int) -> list[JobId]:
        """The first so many with ids above ``after``."""
        jobs = self.jobs
        if self._order is None:
            if len(jobs) <= FEW:
                return nsmallest(limit, (job for job in jobs if job > after))
            self._order = sorted(jobs)
        order, page = self._order, list[JobId]()
        while self._start < len(order) and order[self._start] not in jobs:
            self._start += 1
        place = bisect_right(order, after, lo=self._start)
        while place < len(order) and len(page) < limit:
            if order[place] in jobs:
                page.append(order[place])
            place += 1
        return page
