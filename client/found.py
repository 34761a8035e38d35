"""Work that was submitted by another program: its groups and lists of its jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from ..protocol.ids import GroupId, JobId, each_id
from .asking import IDS, PAGE, ask
from .job import Job

if TYPE_CHECKING:
    from .group import Group
    from .session import Session

_EXPECTED_AT_ONCE = 512


async def jobs(session: Session, plain: bool = False, **wanted: Any) -> list[Job[Any]]:
    """Every job of this client that fits, oldest first; ``plain``: nothing is unpickled."""
    found: list[Job[Any]] = []
    after = None
    while True:
        page = await ask(session, "jobs", after=after, limit=PAGE, newest=False, **wanted)
        found.extend(_job(session, one, plain) for one in page["jobs"])
        after = page["next"]
        if after is None:
            return found


def _job(session: Session, known: dict[str, Any], plain: bool) -> Job[Any]:
    return Job(session, known["name"] or known["target"], JobId(known["id"]), plain)


def group(session: Session, number: GroupId, name: str = "", plain: bool = False) -> Group[Any]:
    """A group by its id; its jobs are found when it is read."""
    from .group import Group

    found: Group[Any] = Group(session, name, errors="raise", plain=plain)
    found.tally.id, found.tally.whole = number, True
    found.when_read = lambda: Deferred.fromCoroutine(fill(session, found, number, session.reactor))
    return found


async def fill(session: Session, group: Group[Any], number: GroupId, reactor: IReactorTime) -> None:
    """Put the jobs of a group, as far as they are submitted, into one that has none."""
    broken = None
    try:
        known = await ask(session, "group", group=number)
        group.name = known["name"] or group.name
        after = None
        while not group.is_stopped():
            page = await ask(
                session, "select", what="group", group=number, first=None, last=None,
                after=after, limit=IDS,
            )  # fmt: skip
            await _expect(session, group, each_id(page["ids"]), reactor)
            after = page["next"]
            if after is None:
                break
    except Exception:  # noqa: BLE001  # raised where the results are read
        broken = Failure()
    group.whole(broken)


async def _expect(
    session: Session, group: Group[Any], ids: Iterator[JobId], reactor: IReactorTime
) -> None:
    for count, job in enumerate(ids, 1):
        while not group.has_room() and not group.is_stopped():
            await group.room()
        if group.is_stopped():
            return
        item = group.add()
        item.id = job
        session.expect(job, item)
        if count % _EXPECTED_AT_ONCE == 0:
            await deferLater(reactor, 0)
