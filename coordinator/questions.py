"""What people and programs ask about: the answers to ``Query``, as plain data.

A question that looks at many jobs pauses after a slice, so that no answer holds the loop. Times
are UNIX time in float seconds.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Coroutine, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import psutil
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from ..protocol.dialing import software
from ..protocol.errors import Damaged, Malformed, NoSuchGroup, NoSuchJob, NotAllowed
from ..protocol.fairness import FairGate
from ..protocol.ids import GroupId, JobId
from ..protocol.jobs import JobSpec
from ..protocol.outcomes import without_value
from .descriptions import describe, redacted
from .details import Details, at_most, is_id, number_or_none, text_or_none
from .events import Read
from .kept import KeptJob, Listing
from .permissions import Asker, check_question
from .records import GroupRecord
from .runs import add_run
from .sightings import Sightings, states_named
from .stories import kept_of, spec_of, story_of
from .transitions import CRASHED, ENDED, FAILED, QUEUED, STATE_NAMES, TIMED_OUT, ending_of

if TYPE_CHECKING:
    from ..loopwatch import LagMeter
    from .driver import Driver

JOBS_LIMIT = 500
SELECT_LIMIT = 10_000
GROUPS_LIMIT = 1000

LONG_AT_ONCE = 6
LONG_OF_ONE = 2
"""Questions that may look at every job, at once, and those of one client: all take their turns."""

_LONG = frozenset({"jobs", "select"})

BAD = frozenset({FAILED, TIMED_OUT, CRASHED})
"""How a job ends that may be worth another run."""

RATE_SECONDS = 5
"""The time over which the rate of ending jobs is measured."""


class Questions:
    """Answers questions about one coordinator, and says to each no more than ``Asker`` allows."""

    def __init__(self, driver: Driver, reactor: IReactorTime, lag: LagMeter | None) -> None:
        self._driver = driver
        self._state = driver.scheduler.state
        self._reactor = reactor
        self._lag = lag
        self._started = driver.moment().wall
        self._samples: list[tuple[float, int]] = []
        self._running: set[Deferred[Any]] = set()
        self._turns = FairGate(LONG_AT_ONCE, LONG_OF_ONE)
        self._pages = driver.durable or Sightings(self._state, self._pause)
        self._questions: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
            "status": self._status,
            "workers": self._workers,
            "jobs": self._jobs,
            "job": self._job,
            "result": self._result,
            "group": self._group,
            "groups": self._groups,
            "select": self._select,
        }

    def ask(self, asker: Asker, question: str, details: Details) -> Deferred[Any]:
        """The answer, in time. Fails with NoSuchJob, NoSuchGroup, Damaged, NotAllowed or
        Malformed."""
        answer = self._questions.get(question)
        if answer is None:
            return fail(Malformed(f"there is no question {question!r:.40}"))
        try:
            check_question(asker.role, question)
        except NotAllowed as refusal:
            return fail(refusal)

        def begin() -> Deferred[Any]:
            return Deferred.fromCoroutine(answer(asker, details))

        asked = self._turns.run(asker.client, begin) if question in _LONG else begin()
        if not asked.called:
            self._running.add(asked)
            asked.addBoth(self._answered, asked)
        return asked

    def _answered(self, result: Any, asked: Deferred[Any]) -> Any:
        self._running.discard(asked)
        return result

    def stop(self) -> None:
        """Give up what is not answered yet."""
        for asked in list(self._running):
            asked.cancel()

    async def _pause(self) -> None:
        """Let others have their turn."""
        await deferLater(self._reactor, 0)

    # -- the coordinator --------------------------------------------------------------------------

    async def _status(self, asker: Asker, details: Details) -> Details:
        state, driver = self._state, self._driver
        retention = driver.scheduler.retention
        counts = {name: state.counts[number] for number, name in enumerate(STATE_NAMES[:ENDED])}
        records = state.workers.values()
        return {
            **counts,
            "store": driver.store_id,
            "term": driver.term,
            "software": software(),
            "pid": os.getpid(),
            "started": self._started,
            "python": platform.python_version(),
            "listening": list(driver.listening),
            "ended": {
                name: state.totals[number]
                for number, name in enumerate(STATE_NAMES)
                if number >= ENDED
            },
            "submitted": state.submitted,
            "workers": len(records),
            "slots": sum(worker.info.slots for worker in records if not worker.away),
            # a job's start is told after a moment only: short ones never run, by that
            "busy": sum(
                min(len(worker.held), worker.info.slots) for worker in records if not worker.away
            ),
            "rate": self._rate(),
            "time": driver.moment().wall,
            "durable": driver.durable is not None,
            "disk": None if driver.durable is None else driver.durable.usage(),
            "refusing": driver.no_room() or None,
            "kept": retention.taken.jobs + retention.untaken.jobs,
            "unfetched": retention.untaken.jobs,
            "lag": self._lag.summary() if self._lag is not None else None,
            "memory": psutil.Process().memory_info().rss,
            "cpu": time.process_time(),
        }

    def sample(self) -> None:
        """Note how many jobs have ended; called once a second."""
        self._samples.append((self._driver.moment().now, sum(self._state.totals)))
        del self._samples[: -RATE_SECONDS - 1]

    def _rate(self) -> float:
        """Jobs that ended a second, of late."""
        now, total = self._driver.moment().now, sum(self._state.totals)
        before, had = next(
            (sample for sample in self._samples if now - sample[0] <= RATE_SECONDS + 0.5),
            (now, total),
        )
        return (total - had) / (now - before) if now > before else 0.0

    async def _workers(self, asker: Asker, details: Details) -> list[Details]:
        bound = self._driver.workers
        return [
            {
                "name": worker.name,
                "host": worker.info.host,
                "python": worker.info.python,
                "software": worker.info.software,
                "pid": worker.info.pid,
                "slots": worker.info.slots,
                "held": len(worker.held),
                "running": len(worker.running),
                "state": "away" if worker.away else "connected",
                "local": worker.info.pid == os.getpid(),
                "since": worker.since,
                "finished": worker.finished,
                "failed": worker.failed,
                "lost": worker.lost,
                "load": bound[worker.name].load if worker.name in bound else {},
            }
            for worker in list(self._state.workers.values())
        ]

    # -- jobs -------------------------------------------------------------------------------------

    async def _jobs(self, asker: Asker, details: Details) -> Details:
        listing = Listing(
            asker.listed(text_or_none(details, "client")),
            at_most(details, "limit", JOBS_LIMIT, JOBS_LIMIT),
            after=number_or_none(details, "after"),
            newest=bool(details.get("newest")),
            states=states_named(details.get("state")),
            name=text_or_none(details, "name"),
        )
        if details.get("group") is not None:
            group = self._seen_group(asker, details)
            listing = listing._replace(client=group.client.id, group=group.id)
        page = await self._pages.page(listing)
        jobs = await self._kept(page.ids)
        return {"jobs": [self._summary(asker, job) for job in jobs], "next": page.next}

    async def _kept(self, ids: Sequence[JobId]) -> list[KeptJob]:
        """These jobs, in this order; those that were forgotten meanwhile are left out."""
        found: dict[int, KeptJob] = {}
        durable, wanted = self._driver.durable, list(ids)
        while durable is not None and (cold := [n for n in wanted if n not in self._state.jobs]):
            await self._driver.stored()
            found |= {job.id: job for job in await durable.jobs(cold)}
            # those that were hot a moment ago may be cold by now; those asked for are here or gone
            asked = set(cold)
            wanted = [number for number in wanted if number not in asked]
        for number in ids:
            record = self._state.jobs.get(number)
            if record is not None:
                found[number] = kept_of(record)
        return [found[number] for number in ids if number in found]

    def seen_by(self, asker: Asker, number: JobId) -> Deferred[KeptJob]:
        """One job that may be seen by who asks. Fails with NoSuchJob, or Damaged."""
        return Deferred.fromCoroutine(self._seen(asker, number))

    async def _seen(self, asker: Asker, number: Any) -> KeptJob:
        jobs = await self._kept([JobId(number)]) if is_id(number) else []
        if not jobs:
            raise NoSuchJob
        (job,) = jobs
        if job.damage and not (job.client and asker.may_see(job.client)):
            raise Damaged(job.damage)
        if not asker.may_see(job.client):
            raise NoSuchJob
        return job

    def _summary(self, asker: Asker, job: KeptJob) -> Details:
        summary = self._summarized(job)
        return redacted(summary) if asker.role == "viewer" else summary

    def _summarized(self, job: KeptJob) -> Details:
        spec = spec_of(job.spec) if not job.damage else JobSpec(kind="import", target="?")
        waiting = job.damage or None
        if job.state == QUEUED and not job.damage:
            waiting = self._driver.scheduler.intake.waiting_reason(spec.python)
        return {
            "id": job.id,
            "client": job.client,
            "name": spec.name,
            "kind": spec.kind,
            "target": spec.target,
            "state": STATE_NAMES[job.state],
            "group": job.group,
            "place": job.place,
            "worker": job.worker,
            "submitted": job.submitted,
            "began": job.began,
            "ended": job.ended,
            "seconds": self._seconds(job),
            "attempts": 0 if job.attempt is None else job.attempt.number,
            "losses": job.losses,
            "failures": job.failures,
            "retries": spec.retries,
            "resume": job.resume,
            "taken": job.taken,
            "waiting": waiting,
            "key": job.key,
            "retried": job.retried,
            "retry_of": job.retry_of,
        }

    def _seconds(self, job: KeptJob) -> float | None:
        """How long the last attempt ran, or has been running; None if none has begun."""
        if job.began is None:
            return None
        record = self._state.jobs.get(job.id)
        if job.state >= ENDED or record is None:
            return job.seconds
        return self._driver.moment().now - record.begun_at

    async def _job(self, asker: Asker, details: Details) -> Details:
        job = await self._seen(asker, details.get("job"))
        viewer = asker.role == "viewer"
        known = self._summary(asker, job) | {
            "deadline": None if job.damage else spec_of(job.spec).deadline,
            "story": [
                [time, what if viewer else f"{what} {detail}".rstrip()]
                for time, what, detail in story_of(job)
            ],
        }
        if viewer:
            return known
        payload = job.payload
        return known | {
            "spec": job.spec,
            "payload": payload if isinstance(payload, bytes) else None,
            "payload_size": len(payload) if isinstance(payload, bytes) else payload.size,
            "body": await self._body(asker, job),
        }

    async def _result(self, asker: Asker, details: Details) -> Details:
        job = await self._seen(asker, details.get("job"))
        body = await self._body(asker, job)
        ending = ending_of(job.state)
        if ending is not None and not job.taken and job.client == asker.client:
            self._driver.handle(Read(self._driver.moment(), [job.id]))
        return {
            "state": STATE_NAMES[job.state],
            "ending": None if ending is None else int(ending),
            "body": body,
            "name": None if job.damage else spec_of(job.spec).name,
            "group": job.group,
            "place": job.place,
        }

    async def _body(self, asker: Asker, job: KeptJob) -> bytes:
        """How it ended; who is not the job's client gets nothing that would be unpickled."""
        if job.state < ENDED:
            return b""
        stored = await self._driver.outcome(job.id)
        if stored is None:
            raise NoSuchJob
        if job.client != asker.client:
            return without_value(stored.body)
        self._driver.values.show(asker.client, job.blobs)
        return stored.body

    # -- groups -----------------------------------------------------------------------------------

    def _seen_group(self, asker: Asker, details: Details) -> GroupRecord:
        number = details.get("group")
        group = self._state.groups.get(GroupId(number)) if type(number) is int else None
        if group is None or not asker.may_see(group.client.id):
            raise NoSuchGroup
        return group

    def _groups_of(self, asker: Asker, details: Details) -> dict[GroupId, GroupRecord]:
        """By ascending ids."""
        client = asker.listed(text_or_none(details, "client"))
        if client is None:
            return self._state.groups
        record = self._state.clients.get(client)
        return record.groups if record is not None else {}

    async def _group(self, asker: Asker, details: Details) -> Details:
        return describe(self._seen_group(asker, details))

    async def _groups(self, asker: Asker, details: Details) -> list[Details]:
        """The newest first."""
        limit = at_most(details, "limit", GROUPS_LIMIT, GROUPS_LIMIT)
        newest = islice(reversed(self._groups_of(asker, details).values()), limit)
        return [describe(group) for group in newest]

    # -- selections -------------------------------------------------------------------------------

    async def _select(self, asker: Asker, details: Details) -> Details:
        page = await self._pages.page(self._selected(asker, details))
        runs: list[list[int]] = []
        for number in page.ids:
            add_run(runs, number, 1)
        last = details.get("what") == "last"
        return {"ids": runs, "next": None if last else page.next}

    def _selected(self, asker: Asker, details: Details) -> Listing:
        limit = at_most(details, "limit", SELECT_LIMIT, SELECT_LIMIT)
        client = asker.listed(text_or_none(details, "client"))
        everything = Listing(client, limit, after=number_or_none(details, "after"))
        match details.get("what"):
            case "all":
                return everything
            case "failed":
                return everything._replace(states=BAD, unretried=True)
            case "ended":
                return everything._replace(states=frozenset(range(ENDED, len(STATE_NAMES))))
            case "last":
                return Listing(client, 1, newest=True)
            case "range":
                first, last = number_or_none(details, "first"), number_or_none(details, "last")
                if first is None or last is None:
                    raise Malformed("a range has a first and a last job")
                after = max(first - 1, everything.after or 0)
                return everything._replace(after=after, last=last)
            case "group":
                return _of_group(everything, self._seen_group(asker, details))
            case "last-group":
                group = next(reversed(self._groups_of(asker, details).values()), None)
                if group is None:
                    raise NoSuchGroup
                return _of_group(everything, group)
            case what:
                raise Malformed(f"there is no selection {what!r:.40}")


def _of_group(listing: Listing, group: GroupRecord) -> Listing:
    return listing._replace(client=group.client.id, group=group.id, by_place=True)
