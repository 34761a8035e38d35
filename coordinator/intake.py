"""Jobs coming in: frames of submissions, groups, and ended jobs that are to run again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count, groupby
from operator import attrgetter
from typing import cast

from ..protocol.errors import (
    Disconnected,
    Malformed,
    NoSuchGroup,
    NotAllowed,
    QueueFull,
    Refused,
    StorageFull,
)
from ..protocol.ids import GroupId, JobId
from ..protocol.jobs import BlobRef, Payload, Submission
from ..protocol.ports import Accepted
from .deliveries import OUTBOX, WATCHED_RUNS, Deliveries
from .effects import Answer, GroupSaved, JobsAdded, Refuse, SessionSaved
from .events import GroupClosed, RetryAsked, Submitted
from .kept import ByIds, ByKeys
from .named import Named, look_at
from .placement import Placement
from .records import (
    ClientRecord,
    GroupRecord,
    JobRecord,
    SessionRecord,
    SpecRecord,
)
from .retention import Retention
from .runs import add_run
from .state import State, Task
from .transitions import ENDED, QUEUED

ANSWERS = 128
"""The last answers of a session, kept for frames that are sent again."""

GAPS = 1024
"""Frames accepted beyond one that is missing, before the missing one is given up."""


OPEN_GROUPS = 10_000
"""Groups of a session that are not closed."""

PYTHONS = 64
"""Versions of Python that the waiting jobs of one client may need."""

_SPEC, _KEY = attrgetter("spec"), attrgetter("key")


class Intake:
    """Accepts jobs, or refuses them."""

    def __init__(
        self, state: State, placement: Placement, deliveries: Deliveries, retention: Retention
    ) -> None:
        self._state = state
        self._retention = retention
        self._placement = placement
        self._deliveries = deliveries

    # -- frames of submissions --------------------------------------------------------------------

    def submitted(self, event: Submitted) -> None:
        """Accept a frame of jobs once; the same sequence number again gets the same answer."""
        keys = [key for key in map(_KEY, event.submissions) if key is not None]
        if keys and self._state.durable:
            self._state.run(self._with_keys(event, keys))
        else:
            self._submit(event)

    def _with_keys(self, event: Submitted, keys: list[str]) -> Task:
        """The same where a key may be that of a cold job."""
        session = self._state.sessions.get(event.session)
        if session is not None:
            session.keyed += 1
            found = yield ByKeys(session.client.id, list(dict.fromkeys(keys)))
            session.keyed -= 1
            if found is None:
                self._state.unreadable(event.ask)
                return
        self._submit(event)

    def _submit(self, event: Submitted) -> None:
        state = self._state
        session = state.sessions.get(event.session)
        try:
            if session is None or not session.connected:
                raise Disconnected("this session is not open")
            answer = session.answers.get(event.sequence)
            if answer is None:
                self._check(session, event)
                packed = set(map(_SPEC, event.submissions))
                specs = {spec: state.spec(spec) for spec in packed}
                self._check_pythons(session.client, specs)
                answer = self._accept(session, event, specs)
        except (Disconnected, Refused, Malformed) as error:
            state.tells.append(Refuse(event.ask, error))
        else:
            state.tells.append(Answer(event.ask, answer))

    def _check(self, session: SessionRecord, event: Submitted) -> None:
        if event.sequence < session.next_sequence or event.sequence in session.seen:
            raise NotAllowed(f"the frame {event.sequence} was accepted long ago")
        if len(session.watched) > WATCHED_RUNS:
            raise QueueFull("this session waits for as many jobs of others as it may")
        if len(session.outbox) > 2 * OUTBOX:
            raise QueueFull("this session has outcomes on their way that it does not take")
        try:
            self._check_room(session.client, len(event.submissions))
        except StorageFull:
            if session.outbox:  # it is taking some of them now: that makes room
                raise QueueFull("results on their way to this session fill the store") from None
            raise

    def _check_pythons(self, client: ClientRecord, specs: dict[bytes, SpecRecord]) -> None:
        """Each one has a queue of its own, which is looked at in each turn."""
        if len(client.queues) + len(specs) > PYTHONS:
            client.queues = {
                python: queue for python, queue in client.queues.items() if not queue.idle
            }
            new = {record.spec.python for record in specs.values()}
            if len(client.queues.keys() | new) > PYTHONS:
                raise QueueFull(f"this client's jobs need more than {PYTHONS} versions of Python")

    def _check_room(self, client: ClientRecord | None, jobs: int) -> None:
        """Whether there is room for so many jobs more, for all clients' and for this one's.

        Raises:
            QueueFull, StorageFull: naming whose bound it is.
        """
        state, settings = self._state, self._state.settings
        if client is not None:
            self._check_share(client, jobs)
        waiting = sum(state.counts[:ENDED])
        if waiting and waiting + jobs > settings.queue_jobs:
            raise QueueFull(f"the queue is full: it takes {settings.queue_jobs} jobs in all")
        if state.pending_bytes > settings.queue_bytes:
            raise QueueFull(f"the queue is full: it takes {settings.queue_bytes} bytes in all")
        if jobs and (fill := self._retention.unfetched_fill(client)):
            raise StorageFull(
                f"results that nobody has fetched {fill}: fetch them, or give them up with "
                "ampacity forget"
            )

    def _check_share(self, client: ClientRecord, jobs: int) -> None:
        share = self._state.settings.share(client.id)
        if client.unfinished and client.unfinished + jobs > share.queue_jobs:
            raise QueueFull(
                f"this client's share of the queue is full: it takes {share.queue_jobs} jobs of one"
            )
        if client.pending_bytes > share.queue_bytes:
            raise QueueFull(
                f"this client's share of the queue is full: it takes {share.queue_bytes} bytes of "
                "one"
            )

    def _accept(
        self, session: SessionRecord, event: Submitted, specs: dict[bytes, SpecRecord]
    ) -> Accepted:
        group = None
        if event.group is not None:
            name = specs[event.submissions[0].spec].spec.name if event.submissions else None
            group = self._group(session, event.group, event.at.wall, name)
        runs: list[list[int]] = []
        jobs = self._make(session, event.submissions, specs, group, runs)
        self._add(session.client, jobs, group)
        answer = Accepted(
            ids=tuple((first, count) for first, count in runs),
            group=None if group is None else group.id,
            warning=self._warning(specs) if jobs else None,
        )
        self._remember(session, event.sequence, answer)
        return answer

    def _make(
        self,
        session: SessionRecord,
        submissions: Sequence[Submission],
        specs: dict[bytes, SpecRecord],
        group: GroupRecord | None,
        runs: list[list[int]],
    ) -> list[JobRecord]:
        """Records for the jobs that are new; ``runs`` gets every id."""
        state, client, owner = self._state, session.client, session.id
        wall = state.at.wall
        keys, number = client.keys, state.next_job
        if submissions and set(map(_KEY, submissions)) == {None}:  # nearly every frame
            state.next_job += len(submissions)
            add_run(runs, number, len(submissions))
            return [
                JobRecord(job, client, owner, specs[packed], payload, None, group, place, wall)
                for job, (packed, payload, _, place) in zip(
                    cast("Iterator[JobId]", count(number)), submissions, strict=False
                )
            ]
        new: dict[str, JobId] = {}
        jobs = []
        for packed, payload, key, place in submissions:
            if key is not None and (key in keys or key in new):
                known = keys[key] if key in keys else new[key]
                add_run(runs, known, 1)
                if known in state.jobs:
                    self._deliveries.watch(session, known, state.jobs[known])
                continue
            job = JobRecord(
                JobId(number), client, owner, specs[packed], payload, key, group, place, wall
            )
            if key is not None:
                new[key] = job.id
            add_run(runs, number, 1)
            number += 1
            jobs.append(job)
        state.next_job = number
        return jobs

    def _remember(self, session: SessionRecord, sequence: int, answer: Accepted) -> None:
        session.answers[sequence] = answer
        if len(session.answers) > ANSWERS:
            del session.answers[next(iter(session.answers))]
        seen = session.seen
        seen.add(sequence)
        if len(seen) > GAPS:
            session.next_sequence = min(seen)
        while session.next_sequence in seen:
            seen.remove(session.next_sequence)
            session.next_sequence += 1
        self._state.writes.append(SessionSaved(session, sequence, answer))

    def _add(self, client: ClientRecord, jobs: list[JobRecord], group: GroupRecord | None) -> None:
        """File new jobs, with consecutive ids, and let them wait."""
        if not jobs:
            return
        state = self._state
        count, first = len(jobs), jobs[0].id
        state.submitted += count
        state.counts[QUEUED] += count
        client.jobs += count
        client.unfinished += count
        if group is not None:
            group.jobs += count
            group.counts[QUEUED] += count
            group.first = group.first or first
            group.last = jobs[-1].id
        if not state.durable:
            add_run(client.runs, first, count)
            if group is not None:
                add_run(group.runs, first, count)
        size = 0
        for job in jobs:
            payload: Payload = job.payload
            if type(payload) is bytes:
                size += len(payload)
            elif isinstance(payload, BlobRef):
                state.hold((payload,))
        state.pending_bytes += size
        client.pending_bytes += size
        for _, alike in groupby(jobs, key=_SPEC):
            self._queue(client, list(alike))
        state.writes.append(JobsAdded(jobs))

    def _queue(self, client: ClientRecord, jobs: list[JobRecord]) -> None:
        """Queue jobs of one spec: behind those that are hot, or in the cold tail."""
        state, record = self._state, jobs[0].spec
        spec, count = record.spec, len(jobs)
        queue = state.queues.queue(client, spec.python)
        if state.durable and state.queues.full(queue, jobs):
            queue.extend_tail(jobs[0].id, count)
        else:
            state.warm_all(record, jobs)
            queue.extend(jobs)
            state.queues.added(client, spec.python, count)
        if record.blobs:
            state.hold(record.blobs * count)
        if spec.deadline is not None:
            state.fall_due(state.at.now + spec.deadline, jobs[0].id, count)

    # -- what cannot run now ----------------------------------------------------------------------

    def _warning(self, specs: dict[bytes, SpecRecord]) -> str | None:
        for python in {record.spec.python for record in specs.values()}:
            reason = self.waiting_reason(python)
            if reason is not None:
                return reason
        return None

    def waiting_reason(self, python: str | None) -> str | None:
        """Why no connected worker can take a job that needs this Python; None if one can."""
        connected = sorted(name for name, lane in self._placement.lanes.items() if lane.workers)
        if not connected:
            return "no worker is connected"
        if python is None or python in connected:
            return None
        return f"needs Python {python}, the connected workers have {', '.join(connected)}"

    # -- groups -----------------------------------------------------------------------------------

    def _group(
        self, session: SessionRecord, own: int, wall: float, name: str | None
    ) -> GroupRecord:
        group = session.groups.get(own)
        if group is None:
            state = self._state
            if session.open_groups >= OPEN_GROUPS:
                raise QueueFull(f"this session has {OPEN_GROUPS} groups that are not closed")
            session.open_groups += 1
            number = GroupId(state.next_group)
            state.next_group += 1
            group = GroupRecord(number, session.client, session.id, own, wall)
            group.name = name
            session.groups[own] = state.groups[number] = session.client.groups[number] = group
            state.writes.append(GroupSaved(group))
        return group

    def group_closed(self, event: GroupClosed) -> None:
        """A group has all of its jobs. A group without any need not be known."""
        session = self._state.sessions.get(event.session)
        if session is not None and session.keyed:
            self._state.run(self._close_later(event))
        else:
            self._close(event)

    def _close_later(self, event: GroupClosed) -> Task:
        """The same behind frames of the group that wait for the store: it answers in order."""
        yield ByIds(())
        self._close(event)

    def _close(self, event: GroupClosed) -> None:
        state = self._state
        session = state.sessions.get(event.session)
        group = session.groups.get(event.group) if session is not None else None
        if session is not None and group is not None:
            session.open_groups -= group.size is None
            group.size = event.size
            state.writes.append(GroupSaved(group))
            self._retention.drop_empty(group)
        elif event.size:
            state.tells.append(Refuse(event.ask, NoSuchGroup()))
            return
        state.tells.append(Answer(event.ask, None))

    # -- running again ----------------------------------------------------------------------------

    def retry_asked(self, event: RetryAsked) -> None:
        """Run ended jobs again, each once, as new ones in their places; answers their ids by the
        old ones."""
        try:
            asker = None if event.client is None else self._state.clients.get(event.client)
            self._check_room(asker, len(event.jobs))
        except Refused as error:
            self._state.tells.append(Refuse(event.ask, error))
        else:
            again: dict[int, int] = {}
            look_at(self._state, event, partial(self._run_again, again), again)

    def _run_again(self, again: dict[int, int], jobs: Named) -> None:
        copies = []
        for number, job in jobs:
            if job is not None and _can_run_again(job):
                copies.append(self._copy(job))
                again[number] = copies[-1].id
        for (client, group), members in groupby(copies, key=attrgetter("client", "group")):
            self._add(client, list(members), group)

    def _copy(self, job: JobRecord) -> JobRecord:
        """A new job with the same work, which has the old one's place in its group."""
        state, client, group = self._state, job.client, job.group
        number = JobId(state.next_job)
        state.next_job += 1
        copy = JobRecord(
            number, client, None, job.spec, job.payload, None, group, job.place, state.at.wall
        )
        copy.note((state.at.wall, "retried", f"from {job.id}"))
        copy.retry_of = job.id
        job.note((state.at.wall, "retried", f"as {number}"))
        job.retried = number
        state.changed[job.id] = job
        if group is not None:
            group.counts[job.state] -= 1
        return copy


def _can_run_again(job: JobRecord) -> bool:
    return job.state >= ENDED and job.retried is None
