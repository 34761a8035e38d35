"""Ended jobs are kept until their number, bytes or age passes a bound, and then forgotten.

An outcome that a session is owed is not forgotten before the session has it or is gone. Each
event forgets a bounded number, at least as fast as jobs can end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ..protocol.ids import JobId
from ..protocol.jobs import BlobRef
from .effects import GroupForgotten
from .records import ClientRecord, GroupRecord, JobRecord
from .state import State

FORGET_AT_ONCE = 600
"""Jobs forgotten by one event, at most; a frame ends fewer."""

LOOK = 60.0
"""Seconds between looks at the age of the oldest."""

TRIM_AT_ONCE = 4096


class Retention:
    """The ended jobs that nobody waits for, oldest first."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._order: deque[JobId] = deque()
        self._look = 0.0
        self._sweeping = False
        self._kept: set[JobId] = set()
        self.bytes = 0

    def keep(self, job: JobRecord) -> None:
        """A job has ended and is owed to nobody: it may be forgotten when its time comes."""
        self._order.append(job.id)
        self._kept.add(job.id)
        self.bytes += job.kept

    def want(self, job: JobRecord) -> None:
        """Somebody waits for the job again; its place in the order becomes a stale one."""
        if job.id in self._kept:
            self._kept.discard(job.id)
            self.bytes -= job.kept

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, job: JobId) -> bool:
        return job in self._kept

    def look(self) -> float | None:
        """When to see whether something has become too old."""
        return self._look if self._kept else None

    def expire(self) -> None:
        """Forget what is over the bounds, the oldest first; a long rest goes on in slices."""
        now = self._state.at.now
        if now >= self._look:
            self._look = now + LOOK
        if self._expire_some() and not self._sweeping:
            self._sweeping = True
            self._state.tasks.append(self._sweep())

    def _sweep(self) -> Iterator[None]:
        while self._expire_some():
            yield
        self._sweeping = False

    def _expire_some(self) -> bool:
        """Forget some; True where more is over the bounds."""
        order = self._order
        for _ in range(FORGET_AT_ONCE):
            if not order:
                return False
            number = order[0]
            if number in self._kept:
                job = self._state.jobs[number]
                if not self._over(job):
                    return False
                self._forget(job)
            order.popleft()
        return True

    def _over(self, job: JobRecord) -> bool:
        settings = self._state.settings
        return (
            len(self._kept) > settings.retain_jobs
            or self.bytes > settings.retain_bytes
            or (job.ended or 0.0) < self._state.at.wall - settings.retain_age
        )

    def _forget(self, job: JobRecord) -> None:
        state, client, group = self._state, job.client, job.group
        self._kept.discard(job.id)
        self.bytes -= job.kept
        del state.jobs[job.id]
        state.counts[job.state] -= 1
        state.forgotten.append(job.id)
        state.leave_spec(job.spec)
        if job.blobs:
            state.release(job.blobs)
        if isinstance(job.payload, BlobRef):
            state.release((job.payload,))
        client.bad.pop(job.id, None)
        if job.key is not None:
            del client.keys[job.key]
        if group is not None:
            self._forget_member(group, job)
        self._forget_retry(client, job)
        self._trim(client.runs)
        if not client.runs:
            state.drop_client(client)

    def _forget_member(self, group: GroupRecord, job: JobRecord) -> None:
        group.jobs -= 1
        if job.id not in group.client.retried:
            group.counts[job.state] -= 1
        self._trim(group.runs)
        self.drop_empty(group)

    @staticmethod
    def _forget_retry(client: ClientRecord, job: JobRecord) -> None:
        """A job whose retry is forgotten stays one that was run again."""
        client.retries.pop(job.id, None)
        again = client.retried.pop(job.id, None)
        if again is not None:
            client.retries.pop(again, None)

    def drop_empty(self, group: GroupRecord) -> None:
        """Forget a group that has no jobs any more and gets none."""
        client: ClientRecord = group.client
        open_still = group.size is None and group.session in self._state.sessions
        if group.jobs or open_still or group.id not in self._state.groups:
            return
        del self._state.groups[group.id]
        del client.groups[group.id]
        session = self._state.sessions.get(group.session)
        if session is not None:
            session.groups.pop(group.own, None)
        self._state.writes.append(GroupForgotten(group))

    def _trim(self, runs: list[list[int]]) -> None:
        """Drop forgotten ids from the beginning of a list of runs."""
        jobs = self._state.jobs
        for _ in range(TRIM_AT_ONCE):
            if not runs or runs[0][0] in jobs:
                return
            runs[0][0] += 1
            runs[0][1] -= 1
            if not runs[0][1]:
                del runs[0]
