"""A client's jobs, or everyone's, in pages: from the records, where all of them are in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from twisted.internet.defer import Deferred

from ..protocol.errors import Malformed
from ..protocol.ids import JobId
from .kept import Listing, Page
from .records import ClientRecord, GroupRecord, JobRecord
from .state import State
from .transitions import STATES

SLICE = 2000
"""Ids that are looked at between two pauses."""


def states_named(name: object) -> frozenset[int] | None:
    """The state that a question names; None for all.

    Raises:
        Malformed: there is no such state.
    """
    if name is None:
        return None
    if not isinstance(name, str) or name not in STATES:
        raise Malformed(f"there is no state {name!r:.40}")
    return frozenset({STATES[name]})


class Sightings:
    """Pages of listings, as a ``DurableStore`` gives them, from a scheduler without cold jobs."""

    def __init__(self, state: State, pause: Callable[[], Awaitable[None]]) -> None:
        self._state = state
        self._pause = pause

    def page(self, listing: Listing) -> Deferred[Page]:
        """Some of a client's jobs; others have their turn after each slice of ids."""
        return Deferred.fromCoroutine(self._page(listing))

    async def _page(self, listing: Listing) -> Page:
        found: list[JobId] = []
        marks: list[int] = []
        for ids in self._slices(listing):
            for number in ids:
                job = self._state.jobs.get(JobId(number))
                if job is None or not _fits(listing, job):
                    continue
                if len(found) == listing.limit:
                    return Page(found, marks[-1])
                found.append(self._latest(job).id if listing.by_place else job.id)
                marks.append(_mark(listing, job))
            await self._pause()
        return Page(found, None)

    def _latest(self, job: JobRecord) -> JobRecord:
        """The job itself, or what it was run again as, again and again."""
        while job.retried is not None and job.retried in self._state.jobs:
            job = self._state.jobs[job.retried]
        return job

    def _runs(self, listing: Listing) -> list[range]:
        """Where the jobs are, by ascending ids; there may be others between them."""
        state = self._state
        source: GroupRecord | ClientRecord | None
        if listing.group is not None:
            source = state.groups.get(listing.group)
        elif listing.client is not None:
            source = state.clients.get(listing.client)
        else:
            known = [client.runs[0][0] for client in state.clients.values() if client.runs]
            return [range(min(known, default=state.next_job), state.next_job)]
        return [range(run[0], sum(run)) for run in source.runs] if source is not None else []

    def _slices(self, listing: Listing) -> Iterator[Sequence[int]]:
        runs = self._runs(listing)
        for run in reversed(runs) if listing.newest else runs:
            ids = run if listing.by_place else _clip(listing, run)
            for start in range(0, len(ids), SLICE):
                yield ids[start : start + SLICE]


def _fits(listing: Listing, job: JobRecord) -> bool:
    if listing.by_place:
        after = -1 if listing.after is None else listing.after
        if job.retry_of is not None or job.place is None or job.place <= after:
            return False
    return (
        (listing.client is None or job.client.id == listing.client)
        and (listing.states is None or job.state in listing.states)
        and (listing.group is None or (job.group is not None and job.group.id == listing.group))
        and (listing.name is None or job.spec.spec.name == listing.name)
        and not (listing.unretried and job.retried is not None)
    )


def _mark(listing: Listing, job: JobRecord) -> int:
    if not listing.by_place:
        return job.id
    assert job.place is not None
    return job.place


def _clip(listing: Listing, run: range) -> range:
    """The part of a run that was asked for, in the order that was asked for."""
    first, stop = run.start, run.stop
    if listing.last is not None:
        stop = min(stop, listing.last + 1)
    if listing.after is not None:
        if listing.newest:
            stop = min(stop, listing.after)
        else:
            first = max(first, listing.after + 1)
    run = range(first, max(first, stop))
    return run[::-1] if listing.newest else run
