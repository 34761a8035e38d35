"""What may be done with jobs that were submitted: they are ended, run again, forgotten."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from ..protocol.errors import NoSuchGroup, NoSuchJob, Refused
from ..protocol.ids import GroupId, JobId, each_id, parse_group
from .asking import IDS, PAGE, ask

if TYPE_CHECKING:
    from .group import Group
    from .job import Job
    from .session import Session

    Which: TypeAlias = Job[Any] | Group[Any] | int | str
    """A job or its id, a group or its id (``g3``)."""

_AT_ONCE = 1000
_NOT_SUCCEEDED = ("failed", "timed out", "cancelled", "crashed")
_UNDER_WAY = frozenset({"queued", "sent", "running", "delayed"})


@attrs.define
class _Meant:
    """Jobs and groups, by their ids."""

    jobs: list[JobId] = attrs.field(factory=list)
    groups: list[GroupId] = attrs.field(factory=list)

    async def add(self, which: Which | Iterable[Which]) -> None:
        """Raises ValueError: a text is no id; TypeError: it names neither jobs nor groups."""
        if hasattr(which, "accepted"):
            which = await which.accepted()
        if isinstance(which, str) and which.startswith("g"):
            self.groups.append(parse_group(which))
        elif isinstance(which, int | str):
            self.jobs.append(JobId(int(which)))
        elif isinstance(which, Iterable):
            for one in which:
                await self.add(one)
        else:
            raise TypeError(f"a job or a group is meant, or its id, not {which!r:.80}")


async def _meant(which: Which | Iterable[Which]) -> _Meant:
    meant = _Meant()
    await meant.add(which)
    return meant


def _batches(jobs: Iterable[JobId]) -> Iterator[Sequence[JobId]]:
    batch = list[JobId]()
    for job in jobs:
        batch.append(job)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


async def _pages(session: Session, question: str, **details: Any) -> AsyncIterator[dict[str, Any]]:
    after = None
    while True:
        page = await ask(session, question, after=after, **details)
        yield page
        after = page["next"]
        if after is None:
            return


def _jobs_of(session: Session, group: GroupId, state: str | None) -> AsyncIterator[dict[str, Any]]:
    wanted = {"name": None, "state": state, "group": group, "newest": False}
    return _pages(session, "jobs", limit=PAGE, **wanted)


async def cancel(session: Session, which: Which | Iterable[Which]) -> None:
    """End jobs, and all of groups."""
    meant = await _meant(which)
    for batch in _batches(meant.jobs):
        await _cancel(session, batch)
    for group in meant.groups:
        async for batch in _places_of(session, group):
            await _cancel(session, batch)


async def _cancel(session: Session, jobs: Sequence[JobId]) -> None:
    await session.requests.call(lambda coordinator: coordinator.cancel(jobs, False))


async def _places_of(session: Session, group: GroupId) -> AsyncIterator[Sequence[JobId]]:
    """The jobs that stand for a group's places now. Raises NoSuchGroup."""
    await ask(session, "group", group=group)  # that it is known at all
    rest = {"group": group, "first": None, "last": None, "limit": IDS}
    async for page in _pages(session, "select", what="group", **rest):
        for batch in _batches(each_id(page["ids"])):
            yield batch


# -- forgetting -----------------------------------------------------------------------------------


async def forget(session: Session, which: Which | Iterable[Which]) -> int:
    """Give up ended jobs; how many. Raises NoSuchGroup."""
    meant = await _meant(which)
    count = 0
    for batch in _batches(meant.jobs):
        count += await _forget(session, batch)
    for group in meant.groups:
        count += await _forget_group(session, group)
    return count


async def _forget(session: Session, jobs: Sequence[JobId]) -> int:
    states = await forgotten(session, jobs)
    return sum(state == "forgotten" for state in states.values())


async def forgotten(session: Session, jobs: Sequence[JobId]) -> dict[int, str]:
    """Give up these; ``forgotten``, or the state that each has, or ``unknown``."""
    return await session.requests.call(lambda coordinator: coordinator.forget(jobs))


async def _forget_group(session: Session, group: GroupId) -> int:
    count = 0
    async for batch in _places_of(session, group):
        count += await _forget(session, batch)
    with contextlib.suppress(NoSuchGroup):  # it is gone with the last of its jobs
        async for page in _jobs_of(session, group, None):  # those that were run again as others
            ended = [JobId(one["id"]) for one in page["jobs"] if one["state"] not in _UNDER_WAY]
            count += await _forget(session, ended) if ended else 0
    return count


# -- running again --------------------------------------------------------------------------------


async def retry(session: Session, which: Which | Iterable[Which]) -> list[JobId]:
    """Run again jobs that are named, however they ended, and of groups what did not succeed.

    The ids of the new jobs. One that was run again already is not once more: its new job counts.

    Raises:
        NoSuchJob, NoSuchGroup: one of them is unknown.
        Refused: one of them has not ended.
        QueueFull, StorageFull: the coordinator has no room.
    """
    meant = await _meant(which)
    made: list[JobId] = []
    for batch in _batches(meant.jobs):
        made += await _retry(session, batch)
    for group in meant.groups:
        made += await _retry_group(session, group)
    return made


async def _retry(session: Session, jobs: Sequence[JobId]) -> list[JobId]:
    again = await session.requests.call(lambda coordinator: coordinator.retry(jobs))
    return [JobId(again[job]) if job in again else await _retried(session, job) for job in jobs]


async def _retried(session: Session, job: JobId) -> JobId:
    """What a job was run again as: before, or by a question whose answer was lost."""
    try:
        known = await ask(session, "job", job=job)
    except NoSuchJob:
        raise NoSuchJob(f"there is no job {job}, or it was forgotten") from None
    if known["retried"] is None:
        raise Refused(f"job {job} is {known['state']}: it can be run again when it has ended")
    return JobId(known["retried"])


async def _retry_group(session: Session, group: GroupId) -> list[JobId]:
    await ask(session, "group", group=group)
    made: list[JobId] = []
    for state in _NOT_SUCCEEDED:
        async for page in _jobs_of(session, group, state):
            jobs = [JobId(one["id"]) for one in page["jobs"] if not one["retried"]]
            made += await _retry(session, jobs) if jobs else []
    return made
