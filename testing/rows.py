"""What a disk holds of a coordinator: rows in dictionaries, and the questions that they answer.

A plain model of what a durable store keeps, made to be read. Every answer is computed by looking
at all rows, so nothing here can be wrong in a clever way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby

import attrs

from ..coordinator.kept import (
    Backlog,
    ByIds,
    ByKeys,
    Found,
    Holdings,
    KeptGroup,
    KeptJob,
    KeptSession,
    KeptWorker,
    Listing,
    Oldest,
    Orphans,
    Page,
    Question,
    QueuedRun,
    Remembered,
    Stored,
)
from ..coordinator.transitions import DELAYED, ENDED, QUEUED, RUNNING, SENT, STATE_NAMES
from ..protocol.ids import ClientId, GroupId, JobId, SessionId, WorkerId
from ..protocol.jobs import JobSpec, unpack_spec


@attrs.define(eq=False)
class Rows:
    """All committed rows. ``version`` counts the commits."""

    jobs: dict[JobId, KeptJob] = attrs.field(factory=dict)
    outcomes: dict[JobId, Stored] = attrs.field(factory=dict)
    groups: dict[GroupId, KeptGroup] = attrs.field(factory=dict)
    sessions: dict[SessionId, KeptSession] = attrs.field(factory=dict)
    workers: dict[WorkerId, KeptWorker] = attrs.field(factory=dict)
    blobs: Counter[bytes] = attrs.field(factory=Counter)
    next_job: int = 1
    next_group: int = 1
    version: int = 0
    _specs: dict[bytes, JobSpec] = attrs.field(factory=dict)

    def spec(self, job: KeptJob) -> JobSpec:
        """What the job's spec says."""
        spec = self._specs.get(job.spec)
        if spec is None:
            spec = self._specs[job.spec] = unpack_spec(job.spec)
        return spec

    # -- what the scheduler asks for --------------------------------------------------------------

    def found(self, question: Question) -> Found:
        """The answer, with the rows of all ids that it names."""
        match question:
            case ByIds(jobs):
                ids = [number for number in jobs if number in self.jobs]
            case ByKeys(client, keys):
                wanted = set(keys)
                ids = [j.id for j in self._each() if j.client == client and j.key in wanted]
            case Oldest(taken, limit):
                ended = [j for j in self._each() if j.state >= ENDED and j.taken == taken]
                ids = [j.id for j in sorted(ended, key=_by_end)][:limit]
            case Backlog(session, after, limit):
                ids = [j.id for j in self._of(session, after) if j.state >= ENDED and not j.taken]
                ids = ids[:limit]
            case Orphans(session, after, limit):
                ids = [j.id for j in self._of(session, after) if self._is_orphan(j)][:limit]
        return Found(ids, [self.jobs[number] for number in ids])

    def _each(self) -> Iterator[KeptJob]:
        return (self.jobs[number] for number in sorted(self.jobs))

    def _of(self, session: SessionId, after: JobId) -> list[KeptJob]:
        return [job for job in self._each() if job.session == session and job.id > after]

    def _is_orphan(self, job: KeptJob) -> bool:
        return job.state < ENDED and self.spec(job).orphans == "cancel"

    # -- what people ask for ----------------------------------------------------------------------

    def page(self, listing: Listing) -> Page:
        """See ``store.DurableStore.page``."""
        fitting = [job for job in self._each() if self._fits(job, listing)]
        if listing.by_place:
            latest = {job.place: job for job in fitting if self._is_latest(job)}
            places = sorted(p for p in latest if p is not None and _beyond(p, listing))
            jobs, marks = [latest[place] for place in places], places
        else:
            jobs = [job for job in fitting if _beyond(job.id, listing)]
            jobs.sort(key=lambda job: job.id, reverse=listing.newest)
            marks = [int(job.id) for job in jobs]
        more = len(jobs) > listing.limit
        ids = [job.id for job in jobs[: listing.limit]]
        return Page(ids, marks[listing.limit - 1] if more else None)

    def _fits(self, job: KeptJob, listing: Listing) -> bool:
        return (
            listing.client in (None, job.client)
            and (listing.last is None or job.id <= listing.last)
            and (listing.group is None or job.group == listing.group)
            and (listing.states is None or job.state in listing.states)
            and (listing.name is None or self._name(job) == listing.name)
            and not (listing.unretried and job.retried is not None)
        )

    def _name(self, job: KeptJob) -> str:
        spec = self.spec(job)
        return spec.name or spec.target

    def _is_latest(self, job: KeptJob) -> bool:
        return job.retried is None or job.retried not in self.jobs

    # -- what a coordinator finds when it starts --------------------------------------------------

    def remembered(self) -> Remembered:
        """All that a coordinator has to know."""
        jobs = list(self._each())
        states = Counter(job.state for job in jobs)
        live = [job for job in jobs if job.state in (SENT, RUNNING, DELAYED)]
        return Remembered(
            next_job=self.next_job,
            next_group=self.next_group,
            counts=[states[number] for number in range(len(STATE_NAMES))],
            jobs=dict(Counter(job.client for job in jobs)),
            pending_bytes=sum(map(_pending, jobs)),
            taken=self._ended(jobs, taken=True),
            untaken=self._ended(jobs, taken=False),
            groups=[self._group(group, jobs) for group in self.groups.values()],
            sessions=list(self.sessions.values()),
            workers=list(self.workers.values()),
            live=live,
            queued=self._runs([job for job in jobs if job.state == QUEUED]),
            blobs=dict(self.blobs),
            shares={client: self._share(jobs, client) for client in {job.client for job in jobs}},
        )

    def _share(self, jobs: list[KeptJob], client: ClientId) -> Holdings:
        own = [job for job in jobs if job.client == client]
        unfinished = [job for job in own if job.state < ENDED]
        return Holdings(
            len(unfinished), sum(map(_pending, unfinished)), self._ended(own, taken=False)
        )

    @staticmethod
    def _ended(jobs: list[KeptJob], taken: bool) -> tuple[int, int]:
        those = [job.kept for job in jobs if job.state >= ENDED and job.taken == taken]
        return len(those), sum(those)

    def _group(self, group: KeptGroup, jobs: list[KeptJob]) -> KeptGroup:
        members = [job for job in jobs if job.group == group.id]
        states = Counter(job.state for job in members if self._is_latest(job))
        return group._replace(
            counts=[states[number] for number in range(len(STATE_NAMES))],
            jobs=len(members),
            first=members[0].id if members else None,
            last=members[-1].id if members else None,
        )

    def _runs(self, queued: list[KeptJob]) -> list[QueuedRun]:
        runs = []
        by_run = groupby(
            enumerate(queued), lambda each: (each[1].id - each[0], *self._common(each[1]))
        )
        for (_, client, python, due), members in by_run:
            ids = [job.id for _, job in members]
            runs.append(QueuedRun(ids[0], len(ids), client, python, due))
        return runs

    def _common(self, job: KeptJob) -> tuple[object, ...]:
        return job.client, self.spec(job).python, job.due


def _by_end(job: KeptJob) -> tuple[float, JobId]:
    return job.ended or 0.0, job.id


def _beyond(mark: int, listing: Listing) -> bool:
    if listing.after is None:
        return True
    return mark < listing.after if listing.newest else mark > listing.after


def _pending(job: KeptJob) -> int:
    inline = job.state < ENDED and isinstance(job.payload, bytes)
    return len(job.payload) if inline else 0
