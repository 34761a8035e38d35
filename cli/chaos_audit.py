"""What the coordinator knows in the end: every job, and its outcome."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from ..client.asking import ask
from ..client.pool import Pool
from ..protocol.errors import AmpacityError
from .chaos_check import ENDINGS
from .chaos_client import told
from .chaos_cluster import Cluster
from .chaos_history import Found
from .chaos_plan import items

if TYPE_CHECKING:
    from ..client.job import Job

_PAGE = 500
_AT_ONCE = 100
_READ_SECONDS = 30.0
_CONNECT_SECONDS = 30.0
_LOOK = 0.5


class Audit:
    """Asks the coordinator itself, past all proxies, as the clients' credential."""

    def __init__(self, reactor: Any, cluster: Cluster) -> None:
        self._reactor = reactor
        self._cluster = cluster
        self._items = [task.job for task in items(cluster.brief.plan())]

    async def run(self, seconds: float) -> list[Found]:
        """All jobs; waits so long for those that have not ended."""
        pool = Pool.connect(self._cluster.client_line, wait=_CONNECT_SECONDS, reactor=self._reactor)
        try:
            return await self._audit(pool, seconds)
        except AmpacityError as e:
            self._cluster.deaths.append(f"the coordinator does not answer in the end: {e}")
            return []
        finally:
            await pool.close()

    async def _audit(self, pool: Pool, seconds: float) -> list[Found]:
        until = time.monotonic() + seconds
        while True:
            summaries = await self._all(pool)
            waiting = sum(one["state"] not in ENDINGS for one in summaries)
            if not waiting or time.monotonic() > until:
                break
            await deferLater(self._reactor, _LOOK)
        found: list[Found] = []
        for start in range(0, len(summaries), _AT_ONCE):
            part = summaries[start : start + _AT_ONCE]
            reading = [Deferred.fromCoroutine(self._found(pool, one)) for one in part]
            found.extend(await gatherResults(reading))
        return found

    async def _all(self, pool: Pool) -> list[dict[str, Any]]:
        session = pool.begin()
        summaries: list[dict[str, Any]] = []
        after: int | None = None
        while True:
            page = await ask(session, "jobs", after=after, limit=_PAGE, newest=False)
            summaries.extend(page["jobs"])
            after = page["next"]
            if after is None:
                return summaries

    async def _found(self, pool: Pool, summary: dict[str, Any]) -> Found:
        ending, run, value = summary["state"], None, None
        if ending in ENDINGS:
            ending, run, value = await self._outcome(pool.job(summary["id"]))
        return Found(
            summary["id"],
            self._index(summary),
            ending,
            summary["attempts"],
            summary["losses"],
            run,
            value,
        )

    async def _outcome(self, job: Job[Any]) -> tuple[str, str | None, str | None]:
        """How a job ended, by its stored outcome."""
        came: Deferred[None] = Deferred()
        results: list[Any] = []

        def take(result: Any) -> None:
            results.append(result)
            if not came.called:
                came.callback(None)

        late = self._reactor.callLater(_READ_SECONDS, take, "no answer")
        job.result().addBoth(take)
        await came
        if late.active():
            late.cancel()
        return told(results[0])

    def _index(self, summary: dict[str, Any]) -> int | None:
        """Its index in the plan: by its place in the group, or at the end of its key or name."""
        if summary["group"] is not None:
            return self._items[int(summary["place"])]
        text: str = summary["key"] or summary["name"] or ""
        words = text.replace(":", " ").split()
        return int(words[-1]) if words and words[-1].isdigit() else None
