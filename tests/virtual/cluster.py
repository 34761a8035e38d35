"""A whole cluster in one thread and under one seed: real code, virtual time, faults, an account."""

from __future__ import annotations

import os
import random as system_random
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import attrs
from ampacity.coordinator import cancelling, deliveries, greeting, leases, queues, state
from ampacity.coordinator.settings import Settings
from ampacity.coordinator.transitions import ENDED, STATE_NAMES
from ampacity.protocol import dialing, limits
from ampacity.testing.processes import CoordinatorProcess, WorkerProcess, name_of
from ampacity.testing.timeline import START, Machine, Process, Timeline
from ampacity.testing.wire import Network
from ampacity.workers import agent as agents
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from .faults import Faults
from .history import History, Ticket
from .processes import ClientProcess, LoadedWorker
from .schedule import Plan, Wish, plan
from .scripted import Scripted
from .stores import InMemory, OnDisk

DRAIN_SECONDS = 400.0
"""Virtual time in which everything has to be over once all faults are healed."""

IMPATIENT = Settings(lease=2.0, recall=0.5, session_grace=3.0, recovery=5.0)
"""Faults cost more with these, in the same time."""

AUDITED = 8
"""Outcomes that are read in the end."""

CALLS = 40

STATE_SECONDS = 10.0
"""Agents tell of their load less often than in truth: it costs time, and says nothing here."""


class QuietLoad:
    """The load of the machine on which this runs is no part of a seed."""

    def __init__(self, lag: Any) -> None:
        self.now = dict[str, Any]


@attrs.define(eq=False)
class Account:
    """What became of one seed."""

    seed: int
    wrong: list[str]
    history: History
    steps: int
    seconds: float
    """Virtual."""

    @property
    def trace(self) -> str:
        return "\n".join(self.history.trace)

    def told(self) -> str:
        """For people: the faults of the run, what is wrong, and how to see it again."""
        return "\n".join(
            [
                f"seed {self.seed}:",
                *(f"  {line}" for line in self.wrong[:20]),
                "see it again, with its trace:",
                f"  python -m ampacity.tests.virtual --seed {self.seed}",
            ]
        )


class Cluster:
    """One run of a plan."""

    def __init__(self, seed: int, made: Plan, folder: Path, stores: InMemory) -> None:
        self.seed = seed
        self.plan = made
        self.random = Random(f"run {seed}")
        self.timeline = Timeline()
        self.history = History(self.timeline)
        self.network = Network(self.timeline, Random(f"wire {seed}"))
        self.settings = IMPATIENT if made.impatient else Settings()
        self.stores = stores
        self.history.at_acceptance, self.history.at_outcome = stores.accepted, stores.told
        self._folder = folder
        self._door = folder / "door" / "coordinator.socket"
        self._lives: dict[Machine, int] = {}
        self.desk = Machine(self.timeline, "coordinator")
        self.worker_machines = [Machine(self.timeline, f"w{n}") for n in range(len(made.workers))]
        self.client_machines = [Machine(self.timeline, f"c{n}") for n in range(made.clients)]
        self.coordinator: CoordinatorProcess
        self.workers: dict[Machine, WorkerProcess] = {}
        self.clients: dict[Machine, ClientProcess] = {}
        self.faults = Faults(self)
        self._unread = 0

    # -- lives ------------------------------------------------------------------------------------

    def _process(self, machine: Machine) -> Process:
        life = self._lives[machine] = self._lives.get(machine, 0) + 1
        process = Process(machine, name_of(machine.name, life))
        process.connect = self.network.connect
        self.history.note("starts", process.name)
        return process

    def start_coordinator(self) -> None:
        process = self._process(self.desk)
        store = self.stores.open(process)
        self.coordinator = CoordinatorProcess(
            process, self.network, self._door, self._folder, self.settings, store
        )
        self.coordinator.driver.on_broken = lambda _: self.faults.end_broken(process)

    def start_worker(self, machine: Machine) -> None:
        slots = self.plan.workers[self.worker_machines.index(machine)]
        random = Random(self.random.random())
        process = self._process(machine)
        play = Scripted(self.plan.scripts, self.history)
        self.workers[machine] = LoadedWorker(
            process,
            self._door,
            self._folder,
            slots,
            play,
            random,
            lambda failure: self._ended(process, failure),
        )

    def _ended(self, process: Process, failure: Any) -> None:
        self.history.wrong.append(f"{process.name} has ended: {failure.value!r}")

    def start_client(self, machine: Machine) -> None:
        """A program; one that lived before waits for what it had been told is accepted."""
        before = self.clients.get(machine)
        random = Random(self.random.random())
        client = self.clients[machine] = ClientProcess(
            self._process(machine), self._door, self.history, random, 0
        )
        for ticket in before.tickets if before is not None else ():
            if ticket.given_up and ticket.id is not None:
                client.expect(ticket.script, ticket.id)

    # -- the run ----------------------------------------------------------------------------------

    def run(self) -> None:
        made, after = self.plan, self.timeline.after
        self.start_coordinator()
        for machine in self.worker_machines:
            self.start_worker(machine)
        for machine in self.client_machines:
            self.start_client(machine)
        for at, client, numbers in made.submissions:
            after(at, self._submit, self.client_machines[client], numbers)
        for wish in made.wishes:
            after(wish.at, self._wish, wish)
        for fault in made.faults:
            after(fault.at, self.faults.strike, fault)
        self._look()
        self.timeline.run_until(START + made.seconds)
        self.faults.heal()
        end = self.timeline.now + DRAIN_SECONDS
        while self._unfinished() and self.timeline.now < end:
            self.timeline.run_until(self.timeline.now + 1.0)
        self._audit()
        self.timeline.run_until(self.timeline.now + 5.0)
        for _ in range(10):  # something may be on its way to the disk, or a client back
            if not (self._left() or self._unread):
                break
            self.timeline.run_until(self.timeline.now + 0.9)
        self._check_the_end()

    def _submit(self, machine: Machine, numbers: tuple[int, ...]) -> None:
        """By the program that lives on the machine at that time, or by its next life."""
        client, scripts = self.clients[machine], [self.plan.scripts[n] for n in numbers]
        if not client.process.alive or client.process.paused:
            self.timeline.after(0.5, self._submit, machine, numbers)
        elif len(scripts) == 1:
            client.submit(scripts[0])
        else:
            client.submit_group(scripts)

    def _wish(self, wish: Wish) -> None:
        client = self.clients[self.client_machines[wish.client]]
        if client.process.alive and not client.process.paused:
            (client.retry if wish.what == "retry" else client.forget)(wish.most)

    def _look(self) -> None:
        """Now and then, at the scheduler's own books."""
        self.check_invariants()
        self.timeline.after(1.7, self._look)

    def check_invariants(self) -> None:
        if self.coordinator.process.alive:
            try:
                self.coordinator.driver.scheduler.check_invariants()
            except AssertionError as e:
                place = traceback.extract_tb(e.__traceback__)[-1]
                where = f"{Path(place.filename).name}:{place.lineno} {place.line}"
                self.history.look(f"the scheduler's books, {where}: {e!s:.500}")

    def _unfinished(self) -> bool:
        return (
            not self.coordinator.process.alive
            or any(client.waits() for client in self.clients.values())
            or bool(self._submitted_less())
            or sum(self._states()[:ENDED]) > 0
        )

    def _submitted_less(self) -> int:
        submitted = {ticket.script.number for ticket in self.history.tickets}
        return len(self.plan.scripts) - len(submitted)

    def _states(self) -> list[int]:
        return list(self.coordinator.driver.scheduler.state.counts)

    # -- the end ----------------------------------------------------------------------------------

    def _left(self) -> list[str]:
        """What is wrong with what is kept in the end."""
        return [*self._left_in_memory(), *self.stores.left(self.coordinator.driver)]

    def _audit(self) -> None:
        """Somebody asks for some of the outcomes: they can be read, and are what was told."""
        accepted = [t for t in self.history.tickets if t.id is not None and not t.forgotten]
        for ticket in self.random.sample(accepted, min(AUDITED, len(accepted))):
            machine = next(m for m in self.client_machines if ticket.client.startswith(m.name))
            self._unread += 1
            self.clients[machine].read(ticket, self._has_read)

    def _has_read(self, ticket: Ticket, answer: Any) -> None:
        self._unread -= 1
        forgotten = {t.id for t in self.history.tickets if t.forgotten}
        if ticket.id in forgotten or ticket.error is not None:
            return
        if not isinstance(answer, dict):
            self.history.look(f"job {ticket.id} cannot be read: {answer.value!r}")
        elif ticket.ending is not None and answer["body"] != ticket.body:
            self.history.look(f"job {ticket.id} is read as another than it was told")

    def _check_the_end(self) -> None:
        wrong = self.history.wrong
        self.check_invariants()
        states = self._states()
        if any(states[:ENDED]):
            left = {STATE_NAMES[n]: states[n] for n in range(ENDED) if states[n]}
            wrong.append(f"jobs are left: {left}")
        if self._unread:
            wrong.append(f"{self._unread} questions have no answer")
        for client in self.clients.values():
            if client.session._frames or client.session._jobs or client.session._early:
                wrong.append(f"{client.process.name} keeps something of jobs that are over")
        for worker in self.workers.values():
            held, uplink = worker.slots.held(), worker.agent._uplink
            if held or uplink.reported():
                wrong.append(f"{worker.process.name} holds {held or uplink.reported()}")
        wrong.extend(self._left())

    def _left_in_memory(self) -> Iterator[str]:
        """Nothing stays in the coordinator of what is over."""
        state = self.coordinator.driver.scheduler.state
        if state.tasks or state.loading:
            yield f"{len(state.tasks)} tasks go on, {len(state.loading)} wait for the store"
        if waiting := self.coordinator.driver._asks._waiting:
            yield f"{len(waiting)} questions of peers have no answer"
        owed = [n for s in state.sessions.values() if s.connected for n in s.outbox]
        if owed:
            yield f"outcomes {owed} are on their way, and do not arrive"
        if state.durable and state.jobs:
            yield f"ended jobs {list(state.jobs)} are in memory, and on the disk"
        calls = self.coordinator.process.getDelayedCalls()
        if len(calls) > CALLS:
            yield f"{len(calls)} calls are due in a coordinator that has nothing to do"


@contextmanager
def _determined(seed: int) -> Iterator[None]:
    """Nothing of this machine comes in: no chance but the seed's, no load."""
    chance = Random(f"system {seed}")
    with (
        mock.patch.object(os, "urandom", chance.randbytes),
        mock.patch.object(system_random, "_urandom", chance.randbytes),
        mock.patch.object(dialing, "software", lambda: "0"),
        mock.patch.object(greeting, "software", lambda: "0"),
        mock.patch.object(agents, "Load", QuietLoad),
        mock.patch.object(agents, "STATE_SECONDS", STATE_SECONDS),
    ):
        yield


@contextmanager
def _patched(constants: list[tuple[Any, str, float]]) -> Iterator[None]:
    with ExitStack() as patches:
        for module, name, value in constants:
            patches.enter_context(mock.patch.object(module, name, value))
        yield


_IMPATIENT: list[tuple[Any, str, float]] = [
    (limits, "PING_INTERVAL", 1.0),
    (limits, "PING_DEADLINE", 3.0),
]

_SMALL: list[tuple[Any, str, float]] = [
    (queues, "HOT", 4),
    (queues, "WARM", 8),
    (queues, "SHORT", 2),
    (queues, "PAGE", 3),
    (queues, "BLOCK", 4),
    (deliveries, "OUTBOX", 4),
    (deliveries, "PAGE", 3),
    (state, "SLICE", 3),
    (cancelling, "SLICE", 3),
    (leases, "SLICE", 3),
]
"""Bounds that a short run meets, where jobs become cold and lists are cut in slices."""


@implementer(ILogObserver)
@attrs.frozen
class Logged:
    """A failure in the log is a mistake, unless it belongs to the faults of a disk."""

    cluster: Cluster

    def __call__(self, event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is not None and not self.cluster.stores.expects(failure):
            history = self.cluster.history
            history.wrong.append(f"logged: {failure.type.__name__}: {failure.value}")
            history.trace.append(failure.getTraceback())


def run_seed(seed: int, folder: Path) -> Account:
    """Run one seed. ``folder`` is empty, or was used by another seed."""
    (folder / "door").mkdir(mode=0o700, exist_ok=True)
    made = plan(seed)
    stores = OnDisk(seed, made) if made.durable else InMemory(seed, made)
    cluster = Cluster(seed, made, folder, stores)
    history = cluster.history

    logged = Logged(cluster)
    globalLogPublisher.addObserver(logged)
    try:
        patches = _SMALL * made.small + _IMPATIENT * made.impatient
        with _determined(seed), _patched(patches):
            cluster.run()
    except Exception as e:  # a mistake inside, or in here
        history.wrong.append(f"raised: {e!r}")
        history.trace.append(traceback.format_exc())
    finally:
        globalLogPublisher.removeObserver(logged)
    wrong = history.check(max_losses=3)
    seconds = cluster.timeline.now - START
    return Account(seed, wrong, history, cluster.timeline.steps, seconds)
