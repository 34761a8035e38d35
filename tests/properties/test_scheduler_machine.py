"""The scheduler against a model that knows only what was promised, over both kinds of store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ampacity.coordinator import events
from ampacity.coordinator.settings import Settings
from ampacity.protocol.ids import ClientId, JobId
from ampacity.protocol.outcomes import Ending
from ampacity.tests.properties.account import Key
from ampacity.tests.properties.peers import Session, Worker
from ampacity.tests.properties.played_cluster import PlayedCluster
from ampacity.tests.properties.played_core import small_bounds
from ampacity.tests.properties.random_walk import ENDINGS, SPECS
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule


@pytest.fixture(autouse=True, scope="module")
def few_are_enough() -> Iterator[None]:
    with small_bounds():
        yield


class Cluster(RuleBasedStateMachine):
    """Draws what happens next."""

    durable = False
    retain_jobs = 1000

    def __init__(self) -> None:
        super().__init__()
        bounds = Settings(retain_jobs=self.retain_jobs, session_keep=60.0)
        self.cluster = PlayedCluster(bounds, self.durable)
        self.core.restore(self.cluster.at)

    @property
    def core(self) -> Any:
        return self.cluster.core

    def open_sessions(self) -> list[Session]:
        return [s for s in self.cluster.sessions.values() if s.connected]

    def busy(self) -> list[Worker]:
        workers = self.cluster.workers.values()
        return [w for w in workers if w.name is not None and w.holds.keys() - w.reports.keys()]

    def keys(self, data: Any, worker: Worker) -> list[Key]:
        keys = sorted(worker.holds.keys() - worker.reports.keys())
        some: list[Key] = data.draw(st.lists(st.sampled_from(keys), unique=True, max_size=4))
        return some

    def jobs(self, data: Any) -> list[JobId]:
        jobs = sorted(self.cluster.account.accepted)
        some: list[JobId] = data.draw(st.lists(st.sampled_from(jobs), unique=True, max_size=8))
        return some

    # -- clients ----------------------------------------------------------------------------------

    @rule(name=st.sampled_from(["a1", "a2", "b1"]))
    def open_session(self, name: str) -> None:
        self.cluster.open(self.cluster.sessions[name])

    @precondition(lambda self: self.open_sessions())
    @rule(data=st.data(), goodbye=st.sampled_from([False, False, True]))
    def leave_session(self, data: Any, goodbye: bool) -> None:
        self.cluster.leave(data.draw(st.sampled_from(self.open_sessions())), goodbye)

    @precondition(lambda self: self.open_sessions())
    @rule(
        data=st.data(),
        spec=st.sampled_from(SPECS),
        count=st.integers(1, 6),
        key=st.sampled_from([None, None, "k", "l"]),
        group=st.sampled_from([None, 1]),
        again=st.booleans(),
    )
    def submit(
        self, data: Any, spec: bytes, count: int, key: str | None, group: int | None, again: bool
    ) -> None:
        session = data.draw(st.sampled_from(self.open_sessions()))
        sequence = self.cluster.submit(session, spec, count, key, group)
        if again:
            self.cluster.send(session, sequence)

    @precondition(lambda self: self.cluster.account.accepted)
    @rule(data=st.data(), queued_only=st.booleans())
    def cancel(self, data: Any, queued_only: bool) -> None:
        jobs, at = self.jobs(data), self.cluster.at
        for client in map(ClientId, "ab"):
            ask = self.cluster.ask()
            self.core.handle(events.CancelAsked(at, ask, client, jobs, queued_only))

    @precondition(lambda self: self.cluster.account.accepted)
    @rule(data=st.data())
    def retry(self, data: Any) -> None:
        at, ask = self.cluster.at, self.cluster.ask()
        self.core.handle(events.RetryAsked(at, ask, ClientId("a"), self.jobs(data)))

    @precondition(lambda self: self.cluster.account.accepted)
    @rule(data=st.data())
    def forget(self, data: Any) -> None:
        at, ask = self.cluster.at, self.cluster.ask()
        self.core.handle(events.ForgetAsked(at, ask, ClientId("a"), self.jobs(data)))

    @precondition(lambda self: self.cluster.account.accepted)
    @rule(data=st.data())
    def read(self, data: Any) -> None:
        self.core.handle(events.Read(self.cluster.at, self.jobs(data)))

    @precondition(lambda self: self.cluster.account.accepted and self.open_sessions())
    @rule(data=st.data())
    def watch(self, data: Any) -> None:
        session = data.draw(st.sampled_from(self.open_sessions()))
        self.cluster.watch(session, self.jobs(data))

    @precondition(lambda self: self.open_sessions())
    @rule(data=st.data(), all_of_it=st.booleans())
    def acknowledge(self, data: Any, all_of_it: bool) -> None:
        session = data.draw(st.sampled_from(self.open_sessions()))
        jobs = sorted(session.owed)
        self.cluster.acknowledge(session, jobs if all_of_it else jobs[1::2])

    # -- workers ----------------------------------------------------------------------------------

    @rule(name=st.sampled_from(["v", "w", "x"]), forgets=st.booleans())
    def join(self, name: str, forgets: bool) -> None:
        worker = self.cluster.workers[name]
        if worker.name is None:
            if forgets:
                worker.begin_anew()
            self.cluster.join(worker)

    @precondition(lambda self: any(w.name for w in self.cluster.workers.values()))
    @rule(data=st.data(), goodbye=st.booleans())
    def leave(self, data: Any, goodbye: bool) -> None:
        there = [w for w in self.cluster.workers.values() if w.name]
        self.cluster.lose(data.draw(st.sampled_from(there)), goodbye)

    @precondition(lambda self: self.busy())
    @rule(data=st.data())
    def begin(self, data: Any) -> None:
        worker = data.draw(st.sampled_from(self.busy()))
        self.cluster.begin(worker, self.keys(data, worker))

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), ending=st.sampled_from(sorted(set(ENDINGS))), again=st.booleans())
    def finish(self, data: Any, ending: Ending, again: bool) -> None:
        worker = data.draw(st.sampled_from(self.busy()))
        self.cluster.finish(worker, self.keys(data, worker), ending, again)

    @precondition(lambda self: self.busy())
    @rule(data=st.data())
    def give_back(self, data: Any) -> None:
        worker = data.draw(st.sampled_from(self.busy()))
        self.cluster.give_back(worker, self.keys(data, worker))

    # -- time, and the store ----------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.02, 0.5, 2.0, 6.0, 11.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.cluster.later(seconds)

    @rule(seconds=st.sampled_from([1.5, 20.0]))
    def stand_still(self, seconds: float) -> None:
        self.cluster.now += seconds
        self.core.handle(events.Paused(self.cluster.at, seconds))

    @rule()
    def go_on(self) -> None:
        self.core.go_on(self.cluster.at)

    @rule()
    def read_next(self) -> None:
        self.core.read_next()

    @rule(fails=st.sampled_from([False, False, False, True]))
    def answer(self, fails: bool) -> None:
        self.core.answer(self.cluster.at, fails and self.durable)

    @rule()
    def settle(self) -> None:
        self.core.settle(self.cluster.at)

    @rule(lazy=st.booleans())
    def commit(self, lazy: bool) -> None:
        self.core.commit()
        self.core.lazy = lazy

    @precondition(lambda self: self.durable)
    @rule()
    def restart(self) -> None:
        self.cluster.restart()

    # -- what must hold ---------------------------------------------------------------------------

    @invariant()
    def what_is_stored_is_what_is_known(self) -> None:
        self.core.check_rows()

    def teardown(self) -> None:
        self.cluster.finish_all()


class DurableCluster(Cluster):
    """Over a disk, with restarts."""

    durable = True


class FullCluster(DurableCluster):
    """With little room for what has ended."""

    retain_jobs = 12


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
TestDurableCluster = DurableCluster.TestCase
TestDurableCluster.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestFullCluster = FullCluster.TestCase
TestFullCluster.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
