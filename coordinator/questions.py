"""What people and programs ask about: the answers to ``Query``, as plain data.

A question that looks at many jobs pauses after a slice, so that no answer holds the loop. Times
are UNIX time in float seconds.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import psutil
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from ..protocol.errors import Malformed, NoSuchGroup, NoSuchJob
from ..protocol.ids import ClientId, GroupId, JobId
from .records import ClientRecord, GroupRecord, JobRecord, add_run, latest_of, story_of
from .sightings import JobList, states_named
from .transitions import CRASHED, ENDED, FAILED, QUEUED, STATE_NAMES, TIMED_OUT, ending_of

if TYPE_CHECKING:
    from ..loopwatch import LagMeter
    from .driver import Driver

JOBS_LIMIT = 500
SELECT_LIMIT = 10_000
GROUPS_LIMIT = 1000

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
        limit = _number(details, "limit", JOBS_LIMIT, JOBS_LIMIT)
        name, group = details.get("name"), details.get("group")
        found: list[JobRecord] = []
        seen = JobList(
            self._state,
            client,
            newest=bool(details.get("newest")),
            after=_number_or_none(details, "after"),
            group=None if group is None else self._own_group(client, group),
            states=states_named(details.get("state")),
        )
        for jobs in seen.slices():
            for job in jobs:
                if name is None or job.spec.spec.name == name:
                    found.append(job)
                    if len(found) > limit:
                        break
            if len(found) > limit:
                break
            await self._pause()
        more = len(found) > limit
        return {
            "jobs": [self._summary(job) for job in found[:limit]],
            "next": found[limit - 1].id if more else None,
        }

    def _summary(self, job: JobRecord) -> Details:
        spec = job.spec.spec
        waiting = None
        if job.state == QUEUED:
            waiting = self._driver.scheduler.intake.waiting_reason(spec.python)
        return {
            "id": job.id,
            "name": spec.name,
            "kind": spec.kind,
            "target": spec.target,
            "state": STATE_NAMES[job.state],
            "group": None if job.group is None else job.group.id,
            "place": job.place,
            "worker": None if job.worker is None else job.worker.name,
            "submitted": job.submitted,
            "began": job.began,
            "ended": job.ended,
            "seconds": self._seconds(job),
            "attempts": 0 if job.attempt is None else job.attempt.number,
            "losses": job.losses,
            "waiting": waiting,
            "key": job.key,
            "retried": job.client.retried.get(job.id),
            "retry_of": job.client.retries.get(job.id),
        }

    def _seconds(self, job: JobRecord) -> float | None:
        """How long the last attempt ran, or has been running; None if none has begun."""
        if job.began is None:
            return None
        return job.seconds if job.state >= ENDED else self._driver.moment().now - job.begun_at

    def _own_job(self, client: ClientRecord, number: Any) -> JobRecord:
        job = self._state.jobs.get(JobId(number)) if type(number) is int else None
        if job is None or job.client is not client:
            raise NoSuchJob
        return job

    async def _job(self, client: ClientRecord, details: Details) -> Details:
        job = self._own_job(client, details.get("job"))
        payload = job.payload
        inline = isinstance(payload, bytes)
        known = self._summary(job) | {
            "spec": job.spec.packed,
            "payload": payload if inline else None,
            "payload_size": len(payload) if isinstance(payload, bytes) else payload.size,
            "story": [[time, f"{what} {detail}".rstrip()] for time, what, detail in story_of(job)],
            "client": client.id,
            "deadline": job.spec.spec.deadline,
        }
        return known | {"body": await self._body(job)}

    async def _result(self, client: ClientRecord, details: Details) -> Details:
        job = self._own_job(client, details.get("job"))
        ending = ending_of(job.state)
        return {
            "state": STATE_NAMES[job.state],
            "ending": None if ending is None else int(ending),
            "body": await self._body(job),
            "name": job.spec.spec.name,
            "group": None if job.group is None else job.group.id,
            "place": job.place,
        }

    async def _body(self, job: JobRecord) -> bytes:
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
        limit = _number(details, "limit", SELECT_LIMIT, SELECT_LIMIT)
        by_place = details.get("what") in ("group", "last-group")
        runs: list[list[int]] = []
        count, after = 0, None
        for jobs in self._selected(client, details).slices():
            for job in jobs:
                number = latest_of(job) if by_place else job.id
                if number not in self._state.jobs:
                    continue
                if count == limit:
                    return {"ids": runs, "next": after}
                add_run(runs, number, 1)
                count, after = count + 1, job.id
            await self._pause()
        return {"ids": runs, "next": None}

    def _selected(self, client: ClientRecord, details: Details) -> JobList:
        state, after = self._state, _number_or_none(details, "after")
        match details.get("what"):
            case "all":
                return JobList(state, client, after=after)
            case "failed":
                bad = frozenset({FAILED, TIMED_OUT, CRASHED})
                return JobList(state, client, after=after, states=bad, without=client.retried)
            case "last":
                return JobList(state, client, after=after, only=_last_job(state.jobs, client))
            case "range":
                first, last = _number_or_none(details, "first"), _number_or_none(details, "last")
                if first is None or last is None:
                    raise Malformed("a range has a first and a last job")
                start = first - 1 if after is None else max(after, first - 1)
                return JobList(state, client, after=start, last=last)
            case "group":
                return self._places(client, self._own_group(client, details.get("group")), after)
            case "last-group":
                if not client.groups:
                    raise NoSuchGroup
                return self._places(client, client.groups[max(client.groups)], after)
            case what:
                raise Malformed(f"there is no selection {what!r:.40}")

    def _places(self, client: ClientRecord, group: GroupRecord, after: int | None) -> JobList:
        """A group's jobs, of those that were run again the first: it stands for their place."""
        return JobList(self._state, client, after=after, group=group, without=client.retries)


def _last_job(jobs: dict[JobId, JobRecord], client: ClientRecord) -> list[JobId]:
    """The newest job of a client that is known."""
    for first, count in reversed(client.runs):
        for number in range(first + count - 1, first - 1, -1):
            if number in jobs:
                return [JobId(number)]
    return []


def _describe(group: GroupRecord) -> Details:
    runs = group.runs
    return {
        "id": group.id,
        "name": group.name,
        "size": group.size,
        "closed": group.size is not None,
        "states": {name: n for name, n in zip(STATE_NAMES, group.counts, strict=True) if n},
        "submitted": group.submitted,
        "first": runs[0][0] if runs else None,
        "last": runs[-1][0] + runs[-1][1] - 1 if runs else None,
    }


def _number_or_none(details: Details, name: str) -> int | None:
    value = details.get(name)
    if value is None or type(value) is int:
        return value
    raise Malformed(f"{name} is a number, not {value!r:.40}")


def _number(details: Details, name: str, default: int, most: int) -> int:
    value = _number_or_none(details, name)
    return default if value is None else max(1, min(value, most))
