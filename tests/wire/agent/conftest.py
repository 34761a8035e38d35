"""An agent with connections in memory, a clock, and a coordinator's end that tests script."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from ampacity.protocol import commands
from ampacity.protocol.access import StateFolder
from ampacity.protocol.connection import Connection
from ampacity.protocol.dialing import Greeted
from ampacity.protocol.errors import NoCoordinator
from ampacity.protocol.ids import JobId
from ampacity.protocol.outcomes import JobLog, StreamLog, unpack_reports
from ampacity.protocol.ports import Holding, WorkerEvents, WorkerInfo
from ampacity.protocol.tokens import Token
from ampacity.workers import agent as agents
from ampacity.workers.agent import Agent
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.test.iosim import FakeTransport, IOPump, connect

JOIN_TOKEN = Token("worker", b"k" * 32, "join-token", b"s" * 16)


class Slots:
    """What an agent asks of its slots, written down."""

    def __init__(self) -> None:
        self.events: WorkerEvents | None = None
        self.calls: list[Any] = []
        self.holds: list[Holding] = []
        self.started: Deferred[None] = succeed(None)
        self.stopped: Deferred[None] = succeed(None)
        self.on_drain: Callable[[], None] = lambda: None
        self.info = WorkerInfo(
            name="box", incarnation=b"i" * 16, slots=2, python="3.11", host="here", software="0"
        )

    def bind(self, events: WorkerEvents) -> None:
        self.events = events

    def start(self) -> Deferred[None]:
        return self.started

    def held(self) -> list[Holding]:
        return list(self.holds)

    def drop(self, unwanted: Iterable[Holding]) -> None:
        self.calls.append(("drop", list(unwanted)))
        self.holds = [h for h in self.holds if h not in self.calls[-1][1]]

    def stop(self, grace: float) -> Deferred[None]:
        self.calls.append(("stop", grace))
        return self.stopped

    def assign(self, assignments: Any) -> None:
        self.calls.append(("assign", [a.job for a in assignments]))
        self.holds += [Holding(a.job, a.attempt) for a in assignments]

    def end(self, attempts: Any) -> None:
        self.calls.append(("end", list(attempts)))

    def retract(self, attempts: Any) -> None:
        self.calls.append(("retract", list(attempts)))

    def attach(self, job: JobId, follow: bool) -> Deferred[JobLog]:
        self.calls.append(("attach", job, follow))
        return succeed(JobLog(stdout=StreamLog(b"printed")))

    def reload(self) -> None:
        self.calls.append(("reload",))

    def drain(self) -> None:
        self.calls.append(("drain",))
        self.on_drain()

    def hold_back(self, held_back: bool) -> None:
        self.calls.append(("hold back", held_back))

    def given_up(self) -> None:
        raise AssertionError("only a coordinator in the same process says so")


class Far(amp.CommandLocator):
    """The coordinator's end of one connection. ``answer`` is what it answers to reports."""

    def __init__(self, unwanted: list[list[int]]) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.frames: list[bytes] = []
        self.answer: Callable[[], Any] = dict
        self.unwanted = unwanted
        self.connection = Connection(self)
        self.connection.admit(self)

    @commands.Join.responder
    def join(self, info: Any, held: Any) -> dict[str, Any]:
        self.heard.append(("join", (info["slots"], held)))
        return {"name": "box-2", "drop": self.unwanted}

    @commands.Finished.responder
    def finished(self, reports: bytes) -> dict[str, Any]:
        self.frames.append(reports)
        self.heard.append(("finished", [report.job for report in unpack_reports(reports)]))
        return self.answer()  # type: ignore[no-any-return]  # or an error, or a Deferred

    @commands.Returned.responder
    def returned(self, attempts: Any) -> dict[str, Any]:
        self.heard.append(("returned", attempts))
        return {}

    @commands.WorkerState.responder
    def state(self, state: Any) -> dict[str, Any]:
        self.heard.append(("state", sorted(state)))
        return {}

    @commands.Goodbye.responder
    def goodbye(self) -> dict[str, Any]:
        self.heard.append(("goodbye", None))
        return {}

    def names(self) -> list[str]:
        return [name for name, _ in self.heard]


class Dials:
    """What each dialing comes to: a store's identity, or an error; at the end a dead address."""

    def __init__(self, clock: Clock) -> None:
        self.outcomes: list[Any] = []
        self.made: list[tuple[float, Token | None]] = []
        self.credential: Token | None = None
        self.unwanted: list[list[int]] = []
        self.wires: list[tuple[Far, Connection, IOPump]] = []
        self.answer: Callable[[], Any] = dict
        self._clock = clock

    async def __call__(
        self, reactor: Any, address: Any, role: Any, token: Token | None, locator: Any, **_: Any
    ) -> Greeted:
        self.made.append((self._clock.seconds(), token))
        outcome = self.outcomes.pop(0) if self.outcomes else NoCoordinator("nobody answers")
        if isinstance(outcome, Exception):
            raise outcome
        far, near = Far(self.unwanted), Connection(clock=self._clock)
        far.answer = lambda: self.answer()
        pump = connect(
            far.connection, FakeTransport(far.connection, True), near, FakeTransport(near, False)
        )
        near.admit(locator)
        self.wires.append((far, near, pump))
        return Greeted(
            connection=near,
            store=outcome,
            term=1,
            client="worker",
            software="0",
            credential=self.credential,
        )

    @property
    def far(self) -> Far:
        return self.wires[-1][0]

    def pump(self, *, seconds: float = 0) -> None:
        self._clock.advance(seconds)
        for _ in range(20):
            for _, _, pump in self.wires:
                pump.flush()
            self._clock.advance(0)

    def cut(self) -> None:
        self.wires[-1][1].abort()
        self.pump()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slots() -> Slots:
    return Slots()


@pytest.fixture
def dials(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Dials:
    dials = Dials(clock)
    monkeypatch.setattr(agents, "dial", dials)
    return dials


@pytest.fixture
def make() -> Callable[..., Agent]:
    """Makes an agent that is not started."""

    def make(
        clock: Clock,
        slots: Slots,
        folder: Path,
        token: Token | None = JOIN_TOKEN,
        **options: Any,
    ) -> Agent:
        return Agent(
            clock,
            "coordinator:8786",
            slots,
            folder=folder / "agent",
            token=token,
            state=StateFolder(folder / "state"),
            random=Random(7),
            defer_to_thread=maybeDeferred,
            **options,
        )

    return make


@pytest.fixture
def new_slots() -> Callable[[], Slots]:
    return Slots


@pytest.fixture
def agent(clock: Clock, slots: Slots, dials: Dials, make: Any, tmp_path: Path) -> Agent:
    """Started, and joined with the first pump."""
    agent: Agent = make(clock, slots, tmp_path)
    dials.outcomes.append(b"store one")
    agent.startService()
    dials.pump()
    return agent
