"""Ended jobs are kept until their number, bytes or age passes a bound, and then forgotten.

Only those whose outcome somebody has, *taken* ones, make room for others, the oldest first; those
that nobody has fetched are kept for long, and when they alone fill the bounds, new jobs are
refused. The store knows the order; what is to be forgotten is read from there in pages.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..protocol.ids import JobId
from ..protocol.jobs import BlobRef
from .effects import GroupForgotten
from .events import ForgetAsked, Read
from .kept import ByIds, Oldest
from .named import Named, look_at
from .records import ClientRecord, GroupRecord, JobRecord, SessionRecord
from .state import State, Task, sliced
from .tallies import Tally
from .transitions import ENDED, STATE_NAMES

FORGET_AT_ONCE = 500
"""Jobs forgotten by one slice."""

LOOK = 60.0
"""Seconds between looks at the age of the oldest."""

REST = 1.0
"""Seconds until the next try, where the store could not be read."""

TRIM_AT_ONCE = 4096


class Retention:
    """What is kept of ended jobs, and for how long."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._look = 0.0
        self._sweeping = False
        self._rest = 0.0
        self.taken = Tally()
        self.untaken = Tally()

    # -- what is kept -----------------------------------------------------------------------------

    def take(self, job: JobRecord) -> None:
        """Somebody has the job's outcome, for which no session waits."""
        if not job.taken and job.owner not in self._state.sessions:
            job.taken = True
            self.untaken.remove(job)
            job.client.untaken.remove(job)
            self.taken.add(job)
            self._state.taken.append(job.id)

    def take_all(self, jobs: Sequence[JobRecord], taker: SessionRecord) -> None:
        """A session has these jobs' outcomes, each of which was on its way to it."""
        state, client, taken, kept = self._state, taker.client, [], 0
        for job in jobs:
            if job.taken or job.client is not client:
                continue
            if job.owner == taker.id or job.owner not in state.sessions:
                job.taken = True
                kept += job.kept
                taken.append(job.id)
        self.untaken.grow(-len(taken), -kept)
        client.untaken.grow(-len(taken), -kept)
        self.taken.grow(len(taken), kept)
        state.taken += taken

    def ended(self, job: JobRecord) -> None:
        """A job has its outcome, which nobody has yet."""
        self.untaken.add(job)
        job.client.untaken.add(job)

    def unfetched_fill(self, client: ClientRecord | None) -> str:
        """Which bound the jobs that nobody has fetched fill alone, in words; or nothing."""
        settings, untaken = self._state.settings, self.untaken
        jobs, size = max(1, settings.retain_jobs), max(1, settings.retain_bytes)
        if untaken.jobs >= jobs or untaken.bytes >= size:
            return f"fill the coordinator's store ({untaken.jobs} jobs of all clients)"
        if client is None:
            return ""
        share, own = settings.share(client.id), client.untaken
        if own.jobs >= max(1, share.retain_jobs) or own.bytes >= max(1, share.retain_bytes):
            return f"fill this client's share of the store ({own.jobs} jobs)"
        return ""

    def read(self, event: Read) -> None:
        """Somebody has asked for outcomes, and has them."""
        self._state.run(self._read_all(event))

    def _read_all(self, event: Read) -> Task:
        for ids in sliced(event.jobs):
            if cold := self._state.cold(ids):
                yield ByIds(cold)
            for number in ids:
                job = self._state.jobs.get(number)
                if job is not None and job.state >= ENDED:
                    self.take(job)

    # -- what is not ------------------------------------------------------------------------------

    def look(self) -> float | None:
        """When to see whether something has become too old."""
        return self._look if self.taken.jobs or self.untaken.jobs else None

    def expire(self) -> None:
        """Forget what is over the bounds, the oldest first."""
        now = self._state.at.now
        due = now >= self._look
        if due:
            self._look = now + LOOK
        much = self.taken.jobs and now >= self._rest and self._too_much
        if (due or much) and not self._sweeping:
            self._sweeping = True
            self._state.run(self._sweep(old=due))

    @property
    def _too_much(self) -> bool:
        settings, taken, untaken = self._state.settings, self.taken, self.untaken
        return (
            taken.jobs + untaken.jobs > settings.retain_jobs
            or taken.bytes + untaken.bytes > settings.retain_bytes
        )

    def _sweep(self, old: bool) -> Task:
        for taken in (True, False) if old else (True,):
            tally = self.taken if taken else self.untaken
            while tally.jobs:
                found = yield Oldest(taken, min(FORGET_AT_ONCE, tally.jobs))
                if found is None:
                    self._rest = self._state.at.now + REST
                    break
                if not self._forget_old(found.ids):
                    if self._too_much:
                        self._rest = self._state.at.now + REST  # those are on their way
                    break
        self._sweeping = False

    def _forget_old(self, ids: Sequence[JobId]) -> bool:
        """Forget those of these that are over a bound; True where more may be."""
        forgotten = 0
        for number in ids:
            job = self._state.jobs.get(number)
            if job is None or job.state < ENDED or job.owed:
                continue
            if not self._over(job):
                return False
            self._forget(job)
            forgotten += 1
        return forgotten > 0

    def _over(self, job: JobRecord) -> bool:
        settings = self._state.settings
        age = settings.retain_age if job.taken else settings.retain_untaken
        return (job.taken and self._too_much) or (job.ended or 0.0) < self._state.at.wall - age

    def forget_asked(self, event: ForgetAsked) -> None:
        """Somebody gives ended jobs up; answers what became of each."""
        states: dict[int, str] = {}

        def look(jobs: Named) -> None:
            for number, job in jobs:
                states[number] = "unknown" if job is None else self._give_up(job)

        look_at(self._state, event, look, states)

    def _give_up(self, job: JobRecord) -> str:
        if job.state < ENDED:
            return STATE_NAMES[job.state]
        self._withdraw(job)
        self._forget(job)
        return "forgotten"

    def _withdraw(self, job: JobRecord) -> None:
        """A job is on its way to nobody any more."""
        if job.owed:
            for session in self._state.sessions.values():
                session.outbox.pop(job.id, None)
            job.owed = 0

    def _forget(self, job: JobRecord) -> None:
        state, client, group = self._state, job.client, job.group
        if job.taken:
            self.taken.remove(job)
        else:
            self.untaken.remove(job)
            client.untaken.remove(job)
        state.drop(job)
        state.changed.pop(job.id, None)
        state.counts[job.state] -= 1
        state.forgotten.append(job.id)
        state.release(job.spec.blobs)
        state.release(job.blobs)
        if isinstance(job.payload, BlobRef):
            state.release((job.payload,))
        client.jobs -= 1
        self._trim(client.runs)
        if group is not None:
            self._forget_member(group, job)
        if not client.jobs:
            state.drop_client(client)

    def _forget_member(self, group: GroupRecord, job: JobRecord) -> None:
        group.jobs -= 1
        if job.retried is None:
            group.counts[job.state] -= 1
        self._trim(group.runs)
        self.drop_empty(group)

    def drop_empty(self, group: GroupRecord) -> None:
        """Forget a group that has no jobs any more and gets none."""
        session = self._state.sessions.get(group.session)
        if session is not None and session.groups.get(group.own) is not group:
            session = None  # another one of this name, which knows nothing of it
        open_still = group.size is None and session is not None
        if group.jobs or open_still or group.id not in self._state.groups:
            return
        del self._state.groups[group.id]
        del group.client.groups[group.id]
        if session is not None:
            del session.groups[group.own]
        self._state.writes.append(GroupForgotten(group))

    def _trim(self, runs: list[list[int]]) -> None:
        """Drop forgotten ids from the beginning of a list of runs."""
        jobs = self._state.jobs
        for _ in range(TRIM_AT_ONCE):
            if not runs or JobId(runs[0][0]) in jobs:
                return
            runs[0][0] += 1
            runs[0][1] -= 1
            if not runs[0][1]:
                del runs[0]
