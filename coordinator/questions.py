"""What people and programs ask about: the answers to ``Query``, as plain data.

A question that looks at many jobs pauses after a slice, so that no answer holds the loop. Times
are UNIX time in float seconds.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Coroutine, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeGuard

import psutil
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from ..protocol.errors import Malformed, NoSuchGroup, NoSuchJob
from ..protocol.ids import ClientId, GroupId, JobId
from ..protocol.jobs import JobSpec, unpack_spec
from .events import Read
from .kept import KeptJob, Listing
from .records import ClientRecord, GroupRecord, kept_of, story_of
from .runs import add_run
from .sightings import Sightings, states_named
from .transitions import CRASHED, ENDED, FAILED, QUEUED, STATE_NAMES, TIMED_OUT, ending_of

if TYPE_CHECKING:
    from ..loopwatch import LagMeter
    from .driver import Driver

JOBS_LIMIT = 500
SELECT_LIMIT = 10_000
GROUPS_LIMIT = 1000

BAD = frozenset({FAILED, TIMED_OUT, CRASHED})
"""How a job ends that may be worth another run."""

RATE_SECONDS = 5
"""The time over which the rate of ending jobs is measured."""

Details = dict[str, Any]


class Questions:
    """Answers questions about one coordinator. A client sees its own jobs and groups only."""

    def __init__(self, driver: Driver, reactor: IReactorTime, lag: LagMeter | None) -> None:
        self._driver = driver
        self._state = driver.scheduler.state
        self._reactor = reactor
        self._lag = lag
        self._started = driver.moment().wall
        self._samples: list[tuple[float, int]] = []
        self._running: set[Deferred[Any]] = set()
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

    def ask(self, client: ClientId, question: str, details: Details) -> Deferred[Any]:
        """The answer, in time. Fails with NoSuchJob, NoSuchGroup or Malformed."""
        answer = self._questions.get(question)
        if answer is None:
            return fail(Malformed(f"there is no question {question!r:.40}"))
        asked = Deferred.fromCoroutine(answer(self._client(client), details))
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

    def _client(self, client: ClientId) -> ClientRecord:
        return self._state.clients.get(client) or ClientRecord(client)

    async def _pause(self) -> None:
        """Let others have their turn."""
        await deferLater(self._reactor, 0)

    # -- the coordinator --------------------------------------------------------------------------

    async def _status(self, client: ClientRecord, details: Details) -> Details:
        state, driver = self._state, self._driver
        retention = driver.scheduler.retention
        counts = {name: state.counts[number] for number, name in enumerate(STATE_NAMES[:ENDED])}
        records = state.workers.values()
        return {
            **counts,
            "store": driver.store_id,
            "term": driver.term,
            "software": version("ampacity"),
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

    async def _workers(self, client: ClientRecord, details: Details) -> list[Details]:
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

    async def _jobs(self, client: ClientRecord, details: Details) -> Details:
        name, group = details.get("name"), details.get("group")
        if name is not None and type(name) is not str:
            raise Malformed("a name is text")
        page = await self._pages.page(
            Listing(
                client.id,
                _number(details, "limit", JOBS_LIMIT, JOBS_LIMIT),
                after=_number_or_none(details, "after"),
                newest=bool(details.get("newest")),
                group=None if group is None else self._own_group(client, group).id,
                states=states_named(details.get("state")),
                name=name,
            )
        )
        jobs = await self._kept(page.ids)
        return {"jobs": [self._summary(job) for job in jobs], "next": page.next}

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

    def own(self, client: ClientId, number: JobId) -> Deferred[KeptJob]:
        """One job of a client. Fails with NoSuchJob."""
        return Deferred.fromCoroutine(self._own_job(self._client(client), number))

    async def _own_job(self, client: ClientRecord, number: Any) -> KeptJob:
        jobs = await self._kept([JobId(number)]) if _is_id(number) else []
        if not jobs or jobs[0].client != client.id:
            raise NoSuchJob
        return jobs[0]

    def _summary(self, job: KeptJob) -> Details:
        spec = unpack_spec(job.spec) if not job.damage else JobSpec(kind="import", target="?")
        waiting = job.damage or None
        if job.state == QUEUED and not job.damage:
            waiting = self._driver.scheduler.intake.waiting_reason(spec.python)
        return {
            "id": job.id,
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

    async def _job(self, client: ClientRecord, details: Details) -> Details:
        job = await self._own_job(client, details.get("job"))
        payload = job.payload
        inline = isinstance(payload, bytes)
        known = self._summary(job) | {
            "spec": job.spec,
            "payload": payload if inline else None,
            "payload_size": len(payload) if isinstance(payload, bytes) else payload.size,
            "story": [[time, f"{what} {detail}".rstrip()] for time, what, detail in story_of(job)],
            "client": client.id,
            "deadline": None if job.damage else unpack_spec(job.spec).deadline,
        }
        return known | {"body": await self._body(job)}

    async def _result(self, client: ClientRecord, details: Details) -> Details:
        job = await self._own_job(client, details.get("job"))
        body = await self._body(job)
        ending = ending_of(job.state)
        if ending is not None and not job.taken:
            self._driver.handle(Read(self._driver.moment(), [job.id]))
        return {
            "state": STATE_NAMES[job.state],
            "ending": None if ending is None else int(ending),
            "body": body,
            "name": None if job.damage else unpack_spec(job.spec).name,
            "group": job.group,
            "place": job.place,
        }

    async def _body(self, job: KeptJob) -> bytes:
        if job.state < ENDED:
            return b""
        stored = await self._driver.outcome(job.id)
        if stored is None:
            raise NoSuchJob
        return stored.body

    # -- groups -----------------------------------------------------------------------------------

    def _own_group(self, client: ClientRecord, number: Any) -> GroupRecord:
        group = client.groups.get(GroupId(number)) if type(number) is int else None
        if group is None:
            raise NoSuchGroup
        return group

    async def _group(self, client: ClientRecord, details: Details) -> Details:
        return _describe(self._own_group(client, details.get("group")))

    async def _groups(self, client: ClientRecord, details: Details) -> list[Details]:
        """The newest first."""
        limit = _number(details, "limit", GROUPS_LIMIT, GROUPS_LIMIT)
        newest = sorted(client.groups, reverse=True)[:limit]
        return [_describe(client.groups[GroupId(number)]) for number in newest]

    # -- selections -------------------------------------------------------------------------------

    async def _select(self, client: ClientRecord, details: Details) -> Details:
        page = await self._pages.page(self._selected(client, details))
        runs: list[list[int]] = []
        for number in page.ids:
            add_run(runs, number, 1)
        last = details.get("what") == "last"
        return {"ids": runs, "next": None if last else page.next}

    def _selected(self, client: ClientRecord, details: Details) -> Listing:
        limit = _number(details, "limit", SELECT_LIMIT, SELECT_LIMIT)
        everything = Listing(client.id, limit, after=_number_or_none(details, "after"))
        match details.get("what"):
            case "all":
                return everything
            case "failed":
                return everything._replace(states=BAD, unretried=True)
            case "ended":
                return everything._replace(states=frozenset(range(ENDED, len(STATE_NAMES))))
            case "last":
                return Listing(client.id, 1, newest=True)
            case "range":
                first, last = _number_or_none(details, "first"), _number_or_none(details, "last")
                if first is None or last is None:
                    raise Malformed("a range has a first and a last job")
                after = max(first - 1, everything.after or 0)
                return everything._replace(after=after, last=last)
            case "group":
                group = self._own_group(client, details.get("group"))
                return everything._replace(group=group.id, by_place=True)
            case "last-group":
                if not client.groups:
                    raise NoSuchGroup
                return everything._replace(group=max(client.groups), by_place=True)
            case what:
                raise Malformed(f"there is no selection {what!r:.40}")


def _describe(group: GroupRecord) -> Details:
    return {
        "id": group.id,
        "name": group.name,
        "size": group.size,
        "closed": group.size is not None,
        "states": {name: n for name, n in zip(STATE_NAMES, group.counts, strict=True) if n},
        "submitted": group.submitted,
        "first": group.first,
        "last": group.last,
    }


def _is_id(number: object) -> TypeGuard[int]:
    return type(number) is int and 0 < number < 1 << 63


def _number_or_none(details: Details, name: str) -> int | None:
    value = details.get(name)
    if value is None or type(value) is int:
        return value
    raise Malformed(f"{name} is a number, not {value!r:.40}")


def _number(details: Details, name: str, default: int, most: int) -> int:
    value = _number_or_none(details, name)
    return default if value is None else max(1, min(value, most))
