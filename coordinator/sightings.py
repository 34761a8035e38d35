"""A client's jobs in the order of their ids, found a slice at a time while they come and go."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from ..protocol.errors import Malformed
from ..protocol.ids import JobId
from .records import ClientRecord, GroupRecord, JobRecord
from .state import State
from .transitions import ENDED, QUEUED, STATES, SUCCEEDED

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


class JobList:
    """Some of a client's jobs: of a group, in some states, after an id, oldest or newest first."""

    def __init__(
        self,
        state: State,
        client: ClientRecord,
        newest: bool = False,
        after: int | None = None,
        last: int | None = None,
        group: GroupRecord | None = None,
        states: frozenset[int] | None = None,
        only: list[JobId] | None = None,
        without: Container[JobId] = (),
    ) -> None:
        self._state = state
        self._client = client
        self._newest = newest
        self._after = after
        self._last = last
        self._group = group
        self._states = states
        self._only = only
        self._without = without

    def slices(self) -> Iterator[list[JobRecord]]:
        """The jobs, those in one slice of ids at a time; some slices are empty."""
        jobs = self._state.jobs
        for numbers in self._numbers():
            found = (jobs.get(JobId(number)) for number in numbers)
            yield [job for job in found if job is not None and self._fits(job)]

    def _fits(self, job: JobRecord) -> bool:
        return (
            job.client is self._client
            and (self._states is None or job.state in self._states)
            and (self._group is None or job.group is self._group)
            and job.id not in self._without
        )

    def _numbers(self) -> Iterator[Sequence[int]]:
        some = self._few()
        if some is not None:
            some = sorted((number for number in some if self._within(number)), reverse=self._newest)
            for start in range(0, len(some), SLICE):
                yield some[start : start + SLICE]
            return
        source = self._client if self._group is None else self._group
        runs = [range(first, first + count) for first, count in source.runs]
        for run in reversed(runs) if self._newest else runs:
            yield from self._slices_of(self._clip(run))

    def _few(self) -> list[JobId] | None:
        """The ids, where an index knows them; None: look at all."""
        if self._only is not None:
            return self._only
        if self._states is None or self._states & {QUEUED, SUCCEEDED}:
            return None
        few: list[JobId] = []
        if any(state < ENDED for state in self._states):
            for worker in self._state.workers.values():
                few.extend(worker.held)
        if any(state >= ENDED for state in self._states):
            few.extend(self._client.bad)
        return few

    def _within(self, number: int) -> bool:
        if self._last is not None and number > self._last:
            return False
        if self._after is None:
            return True
        return number < self._after if self._newest else number > self._after

    def _clip(self, run: range) -> range:
        """The part of a run that was asked for, in the order that was asked for."""
        first, stop = run.start, run.stop
        if self._last is not None:
            stop = min(stop, self._last + 1)
        if self._after is not None:
            if self._newest:
                stop = min(stop, self._after)
            else:
                first = max(first, self._after + 1)
        run = range(first, max(first, stop))
        return run[::-1] if self._newest else run

    @staticmethod
    def _slices_of(run: range) -> Iterator[range]:
        for start in range(0, len(run), SLICE):
            yield run[start : start + SLICE]
