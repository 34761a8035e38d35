"""The pools of the kit that the contract is checked on, each with what makes its jobs go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from ampacity.testing import Crashes, Hangs, InlinePool, ManualPool, VirtualCluster
from ampacity.testing.results import fired
from ampacity.tests.unit.testing import contract_jobs
from twisted.internet import reactor
from twisted.internet.task import deferLater


@attrs.define
class Bench:
    """One kind of pool, and how to wait with it."""

    kind: str
    pool: Any
    fresh: Callable[..., Any]
    """Another pool of this kind."""
    go_on: Callable[[], object] = lambda: None
    """Lets a little happen."""

    async def pause(self) -> None:
        """Let a little happen."""
        if self.kind == "real":
            await deferLater(reactor, 0.01)
        self.go_on()

    async def wait(self, awaitable: Any) -> Any:
        """The result, once it is there."""
        waiting = fired(awaitable)
        for _ in range(0 if self.kind == "real" else 200):
            if waiting.called:
                break
            self.go_on()
        return await waiting


def inline() -> Bench:
    pool = InlinePool(slots=2)
    pool.plan(contract_jobs.hang, Hangs())
    pool.plan(contract_jobs.crash, Crashes("SIGSEGV"))
    return Bench("inline", pool, InlinePool, lambda: pool.advance(1.0))


def manual() -> Bench:
    pool = ManualPool(slots=2)

    def go_on() -> None:
        for execution in pool.waiting:
            if execution.name.endswith(":crash"):
                execution.die("SIGSEGV")
            elif not execution.name.endswith(":hang"):
                execution.run()
        pool.advance(1.0)

    return Bench("manual", pool, ManualPool, go_on)


def cluster() -> Bench:
    cluster = VirtualCluster(workers=2)
    cluster.plan(contract_jobs.hang, Hangs())
    cluster.plan(contract_jobs.crash, Crashes("SIGSEGV"))
    return Bench("cluster", cluster.pool(), cluster.pool, lambda: cluster.advance(1.0))
