"""A client program of a chaos run: it submits its part of the plan, and waits for all of it.

What it does and sees is written to its journal at once. When it is killed, the next program of
the same client reads that, and takes over: jobs that were accepted are found by their ids, what
may have been accepted is submitted again under its key, and the rest is submitted for the first
time.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from ..client.asking import ask
from ..protocol.errors import (
    AmpacityError,
    CoordinatorLost,
    Disconnected,
    JobCancelled,
    JobCrashed,
    JobTimedOut,
    NoCoordinator,
    Refused,
)
from . import chaos_history as history
from .chaos_jobs import Computed, append, work
from .chaos_plan import LIMIT, RETRIES, Task, argument, digest, items, make_plan

if TYPE_CHECKING:
    from ..client.job import Job
    from ..client.pool import Pool

AGAIN = 1.0
"""Seconds after which what was refused is submitted again."""
WAIT = 120.0
"""Seconds for which the first connection is tried."""

_RUN = re.compile(r"execution ([0-9a-f]{16})")


@attrs.frozen(kw_only=True)
class Brief:
    """What every client program is told, in a file that only its owner can read."""

    seed: int
    jobs: int
    seconds: float
    clients: int
    retries: bool
    folder: str
    """Where jobs note what they do, and programs keep their journals."""
    lines: list[str]
    """By client: address and token."""
    began: float
    """By the monotonic clock."""

    @classmethod
    def read(cls, path: str) -> Brief:
        return cls(**json.loads(Path(path).read_text()))

    def plan(self) -> list[Task]:
        return make_plan(self.seed, self.jobs, self.seconds, self.clients, self.retries)

    def journal(self, client: int) -> Path:
        return Path(self.folder, f"client-{client}")


def told(result: Any) -> tuple[str, str | None, str | None]:
    """The ending, execution and digest that a value or a failure tells of."""
    if isinstance(result, Computed):
        return "succeeded", result.run, digest(b"%d:" % result.job + result.data)
    if not isinstance(result, Failure):
        return f"a strange value {result!r:.60}", None, None
    for kind, ending in _ENDINGS:
        if result.check(kind):
            return ending, None, None
    found = _RUN.search(str(result.value))
    if found is None:
        return f"{type(result.value).__name__}: {result.value!s:.200}", None, None
    return "failed", found.group(1), None


_ENDINGS: tuple[tuple[type[Exception], str], ...] = (
    (JobTimedOut, "timed out"),
    (JobCancelled, "cancelled"),
    (JobCrashed, "crashed"),
)


class Program:
    """One life of one client."""

    def __init__(self, reactor: Any, pool: Pool, brief: Brief, client: int, life: int) -> None:
        self._reactor = reactor
        self._pool = pool
        self._brief = brief
        self._client = client
        self._name = f"{client}.{life}"
        self._journal = brief.journal(client)
        self._before = Before.read(self._journal)
        self._left: list[Deferred[None]] = []

    async def run(self) -> None:
        """Submit at the times of the plan, and wait for every end."""
        plan = self._brief.plan()
        mine = [task for task in plan if task.client == self._client and task.kind != "item"]
        self._resume(mine)
        if self._client == 0:
            self._left.append(Deferred.fromCoroutine(self._map(items(plan))))
        for task in sorted(mine, key=lambda task: (task.at, task.job)):
            if task.job not in self._before.invoked:
                await self._until(task.at)
                self._submit(task)
        while self._left:
            left, self._left = self._left, []
            await DeferredList(left, fireOnOneErrback=True, consumeErrors=True)
        self._note(history.Done(_now(), self._name))

    async def _until(self, at: float) -> None:
        wait = self._brief.began + at - _now()
        if wait > 0:
            await deferLater(self._reactor, wait)

    def _note(self, event: history.Event) -> None:
        append(self._journal, event)

    # -- what an earlier program has begun --------------------------------------------------------

    def _resume(self, tasks: Sequence[Task]) -> None:
        before = self._before
        for task in tasks:
            if task.job not in before.invoked or task.job in before.delivered:
                continue
            number = before.accepted.get(task.job)
            if number is not None:
                self._follow(task, self._pool.job(number))
            elif task.keyed or task.job in before.refused:
                self._submit(task)
            else:
                self._note(history.Unknown(_now(), self._name, task.job, "its program was killed"))

    # -- single jobs ------------------------------------------------------------------------------

    def _submit(self, task: Task) -> None:
        self._note(history.Invoked(_now(), self._name, task.job))
        pool = self._pool.options(**_options(task))
        job = pool.submit(work, *_arguments(self._brief.folder, task))
        self._follow(task, job)

    def _follow(self, task: Task, job: Job[Computed]) -> None:
        accepting = job.accepted()
        accepting.addCallback(self._accepted, task, job)
        accepting.addErrback(_told_elsewhere)
        over: Deferred[None] = Deferred()
        self._left.append(over)
        job.result().addBoth(self._ended, task, job, over)

    def _accepted(self, number: int, task: Task, job: Job[Computed]) -> None:
        if task.job not in self._before.accepted:
            self._note(history.Accepted(_now(), self._name, task.job, number))
        if task.kind == "cancelled":
            self._reactor.callLater(task.seconds, self._cancel, task, job)

    def _cancel(self, task: Task, job: Job[Computed]) -> None:
        self._note(history.Cancelling(_now(), self._name, task.job))
        job.cancel().addErrback(_told_elsewhere)

    def _ended(self, result: Any, task: Task, job: Job[Computed], over: Deferred[None]) -> None:
        if isinstance(result, Failure) and job.id is None and result.check(Refused):
            self._note(history.Refused(_now(), self._name, task.job, str(result.value)))
            self._reactor.callLater(AGAIN, self._again, task, over)
            return
        if isinstance(result, Failure) and result.check(*_UNANSWERED):
            self._note(history.Unknown(_now(), self._name, task.job, repr(result.value)))
        else:
            told_of = (job.id, *told(result))
            self._note(history.Delivered(_now(), self._name, task.job, *told_of))
        over.callback(None)

    def _again(self, task: Task, over: Deferred[None]) -> None:
        self._submit(task)
        over.callback(None)

    # -- the map ----------------------------------------------------------------------------------

    async def _map(self, tasks: Sequence[Task]) -> None:
        if not tasks or tasks[0].job in self._before.invoked:
            await self._collect(tasks)
            return
        await self._until(tasks[0].at)
        view = self._pool.options(name="chaos item")
        group = view.map(work, *self._columns(tasks), errors="return")
        results = await group
        for task, result in zip(tasks, results, strict=True):
            self._item_came(task, result)

    def _item_came(self, task: Task, result: Any) -> None:
        if isinstance(result, Refused):
            self._note(history.Refused(_now(), self._name, task.job, str(result)))
            return
        end = Failure(result) if isinstance(result, BaseException) else result
        self._note(history.Delivered(_now(), self._name, task.job, None, *told(end)))

    def _columns(self, tasks: Sequence[Task]) -> list[Iterator[Any]]:
        """The arguments by place; an item is invoked when its index is taken."""

        def numbers() -> Iterator[int]:
            for task in tasks:
                self._note(history.Invoked(_now(), self._name, task.job))
                yield task.job

        rows = [_arguments(self._brief.folder, task) for task in tasks]
        folders, _numbers, kinds, seconds, data = ([row[i] for row in rows] for i in range(5))
        return [iter(folders), numbers(), iter(kinds), iter(seconds), iter(data)]

    async def _collect(self, tasks: Sequence[Task]) -> None:
        """The items that an earlier program has submitted, as far as they are known there."""
        for found in await self._pool.jobs(name="chaos item"):
            task = tasks[await self._place(found)]
            if task.job not in self._before.delivered:
                self._left.append(found.result().addBoth(self._item_ended, task, found))

    async def _place(self, job: Job[Any]) -> int:
        session = self._pool.begin()
        known = await ask(session, "job", job=job.id)
        return int(known["place"])

    def _item_ended(self, result: Any, task: Task, job: Job[Any]) -> None:
        told_of = (job.id, *told(result))
        self._note(history.Delivered(_now(), self._name, task.job, *told_of))


_UNANSWERED = (CoordinatorLost, NoCoordinator, Disconnected)


@attrs.frozen
class Before:
    """What the earlier programs of this client have come to."""

    invoked: set[int]
    accepted: dict[int, int]
    delivered: set[int]
    refused: set[int]
    """Those whose last word is a refusal."""

    @classmethod
    def read(cls, journal: Path) -> Before:
        before = cls(set(), {}, set(), set())
        data = journal.read_bytes() if journal.exists() else b""
        for event in history.events_of(data):
            match event:
                case history.Invoked():
                    before.invoked.add(event.job)
                    before.refused.discard(event.job)
                case history.Accepted():
                    before.accepted[event.job] = event.id
                case history.Delivered():
                    before.delivered.add(event.job)
                case history.Refused():
                    before.refused.add(event.job)
                case _:
                    pass
        return before


def _options(task: Task) -> dict[str, Any]:
    options: dict[str, Any] = {"name": task.name, "key": task.key}
    if task.kind == "endless":
        options["timeout"] = LIMIT
    if task.kind == "flaky":
        options |= {"retries": RETRIES, "backoff": 0.1}
    return options


def _arguments(folder: str, task: Task) -> tuple[str, int, str, float, bytes]:
    return folder, task.job, task.kind, task.seconds, argument(task.job, task.size)


def _now() -> float:
    return time.monotonic()


def _told_elsewhere(_: Failure) -> None:
    """The job's result tells the same."""


def main(words: Sequence[str]) -> int:
    """``BRIEF CLIENT LIFE``: run one client program; the exit code is 0 when all has ended."""
    from ..client.pool import Pool
    from .reacting import react

    path, client, life = words

    async def run(reactor: Any) -> int:
        brief = Brief.read(path)
        pool = Pool.connect(brief.lines[int(client)], wait=WAIT, reactor=reactor)
        try:
            await Program(reactor, pool, brief, int(client), int(life)).run()
        except AmpacityError as e:
            print(f"{type(e).__name__}: {e}", flush=True)
            return 1
        finally:
            await pool.close()
        return 0

    return react(run, "info", "text")
