"""The agent over connections in memory, with a clock: joining, coming back, leaving."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from ampacity.protocol import commands
from ampacity.protocol.access import StateFolder
from ampacity.protocol.connection import Connection
from ampacity.protocol.dialing import Greeted
from ampacity.protocol.errors import (
    AmpacityError,
    CannotStart,
    NoCoordinator,
    TokenRefused,
    VersionMismatch,
    WrongKey,
)
from ampacity.protocol.ids import Attempt, ClientId, JobId
from ampacity.protocol.jobs import Assignment, JobSpec, pack_assignments, pack_spec
from ampacity.protocol.outcomes import Ending, JobLog, Report, StreamLog, unpack_log, unpack_reports
from ampacity.protocol.ports import Ended, Holding, WorkerEvents, WorkerInfo
from ampacity.protocol.tokens import Token
from ampacity.workers import agent as agents
from ampacity.workers.agent import Agent
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.test.iosim import FakeTransport, IOPump, connect

KEY = b"k" * 32
JOIN_TOKEN = Token("worker", KEY, "join-token", b"s" * 16)
CREDENTIAL = Token("worker", KEY, "credential", b"c" * 16)


class Slots:
    """What an agent asks of its slots, written down."""

    def __init__(self) -> None:
        self.events: WorkerEvents | None = None
        self.calls: list[Any] = []
        self.holds: list[Holding] = []
        self.started: Deferred[None] = succeed(None)
        self.stopped: Deferred[None] = succeed(None)
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

    def on_drain(self) -> None:
        raise AssertionError("the agent has not said how to leave")

    def drain(self) -> None:
        self.calls.append(("drain",))
        self.on_drain()

    def hold_back(self, held_back: bool) -> None:
        self.calls.append(("hold back", held_back))

    def given_up(self) -> None:
        raise AssertionError("only a coordinator in the same process says so")


class Far(amp.CommandLocator):
    """The coordinator's end of one connection."""

    def __init__(self, unwanted: list[list[int]]) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.unwanted = unwanted
        self.connection = Connection(self)
        self.connection.admit(self)

    @commands.Join.responder
    def join(self, info: Any, held: Any) -> dict[str, Any]:
        self.heard.append(("join", (info["slots"], held)))
        return {"name": "box-2", "drop": self.unwanted}

    @commands.Finished.responder
    def finished(self, reports: bytes) -> dict[str, Any]:
        self.heard.append(("finished", [report.job for report in unpack_reports(reports)]))
        return {}

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
        self._clock = clock

    async def __call__(
        self, reactor: Any, address: Any, role: Any, token: Token | None, locator: Any
    ) -> Greeted:
        self.made.append((self._clock.seconds(), token))
        outcome = self.outcomes.pop(0) if self.outcomes else NoCoordinator("nobody answers")
        if isinstance(outcome, Exception):
            raise outcome
        far, near = Far(self.unwanted), Connection(clock=self._clock)
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


def make(clock: Clock, slots: Slots, folder: Path, token: Token | None = JOIN_TOKEN) -> Agent:
    return Agent(
        clock,
        "coordinator:8786",
        slots,
        folder=folder / "agent",
        token=token,
        state=StateFolder(folder / "state"),
        random=Random(7),
        defer_to_thread=maybeDeferred,
    )


@pytest.fixture
def agent(clock: Clock, slots: Slots, dials: Dials, tmp_path: Path) -> Agent:
    """Started, and joined with the first pump."""
    agent = make(clock, slots, tmp_path)
    dials.outcomes.append(b"store one")
    agent.startService()
    dials.pump()
    return agent


def fired(deferred: Deferred[Any]) -> list[Any]:
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results


def holding(job: int) -> Holding:
    return Holding(JobId(job), Attempt(1, 1))


def assignments(*jobs: int) -> bytes:
    spec = pack_spec(JobSpec(kind="import", target="a:b"))
    return pack_assignments(
        [Assignment(JobId(job), Attempt(1, 1), spec, b"", ClientId("local")) for job in jobs]
    )


def report(job: int) -> Report:
    return Report(JobId(job), Attempt(1, 1), Ending.SUCCEEDED, 1.0, 0.5, b"")


def leave(agent: Agent, dials: Dials, grace: float | None = None) -> list[Any]:
    left = fired(agent.stopService(grace))
    dials.pump()
    return left


# -- joining --------------------------------------------------------------------------------------


def test_an_agent_joins_with_what_it_offers(agent: Agent, dials: Dials) -> None:
    assert dials.far.heard == [("join", (2, []))]
    assert fired(agent.ready) == ["box-2"]
    assert dials.made == [(0.0, JOIN_TOKEN)]


def test_its_load_is_told_every_second(agent: Agent, dials: Dials) -> None:
    for _ in range(3):
        dials.pump(seconds=1)
    assert dials.far.heard[1:] == [("state", ["cpu", "lag", "memory", "waiting"])] * 3


def test_orders_reach_the_slots(agent: Agent, dials: Dials, slots: Slots) -> None:
    far = dials.far.connection
    far.call(commands.Assign, jobs=assignments(1, 2))
    far.call(commands.EndAttempts, attempts=[[1, 1, 1, "cancelled"]])
    far.call(commands.Retract, attempts=[[2, 1, 1]])
    far.call(commands.Reload)
    attached = fired(far.call(commands.AttachWorker, job=1, follow=True))
    pinged = fired(far.call(commands.Ping))
    dials.pump()
    assert slots.calls[1:] == [
        ("assign", [1, 2]),
        ("end", [Ended(*holding(1), "cancelled")]),
        ("retract", [holding(2)]),
        ("reload",),
        ("attach", 1, True),
    ]
    assert unpack_log(attached[0]["log"]).stdout.head == b"printed"
    assert pinged == [{}]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (commands.EndAttempts, {"attempts": [[1, 1, 1, "for fun"]]}),
        (commands.EndAttempts, {"attempts": [[1]]}),
        (commands.Retract, {"attempts": [[1, "x", 1]]}),
        (commands.Retract, {"attempts": 7}),
        (commands.Assign, {"jobs": b"nothing packed"}),
    ],
)
def test_a_damaged_order_is_refused_and_the_connection_stays(
    agent: Agent, dials: Dials, slots: Slots, command: Any, arguments: Any
) -> None:
    answer = fired(dials.far.connection.call(command, **arguments))
    dials.pump()
    assert answer[0].check(AmpacityError)
    assert dials.far.connection.lost is None
    assert [call for call in slots.calls if call[0] != "drop"] == []


# -- coming back ----------------------------------------------------------------------------------


def test_it_comes_back_and_says_what_it_holds(
    agent: Agent, dials: Dials, slots: Slots, clock: Clock
) -> None:
    slots.holds = [holding(1), holding(2)]
    assert slots.events is not None
    dials.cut()
    slots.holds.remove(holding(1))
    recorded = fired(slots.events.finished([report(1)]))
    dials.outcomes.append(b"store one")
    dials.pump(seconds=1)
    assert dials.far.heard[0] == ("join", (2, [[2, 1, 1], [1, 1, 1]]))
    assert ("finished", [1]) in dials.far.heard
    assert recorded == [None]


def test_what_the_coordinator_does_not_want_is_dropped(
    agent: Agent, dials: Dials, slots: Slots
) -> None:
    slots.holds = [holding(1), holding(2)]
    dials.cut()
    assert slots.events is not None
    recorded = fired(slots.events.finished([report(3)]))
    dials.unwanted = [[2, 1, 1], [3, 1, 1]]
    dials.outcomes.append(b"store one")
    dials.pump(seconds=1)
    assert slots.calls[-1] == ("drop", [holding(2), holding(3)])
    assert recorded == [None]
    assert "finished" not in dials.far.names()


def test_on_another_store_it_holds_nothing_of_the_old_one(
    agent: Agent, dials: Dials, slots: Slots
) -> None:
    slots.holds = [holding(1)]
    dials.cut()
    assert slots.events is not None
    recorded = fired(slots.events.finished([report(2)]))
    dials.outcomes.append(b"store two")
    dials.pump(seconds=1)
    assert ("drop", [holding(1)]) in slots.calls
    assert recorded == [None]
    assert dials.far.heard[0] == ("join", (2, []))
    assert "finished" not in dials.far.names()
    dials.far.connection.call(commands.Assign, jobs=assignments(9))
    dials.pump()
    assert slots.calls[-1] == ("assign", [9])


def test_a_dead_address_is_tried_for_ever_and_logged_once(
    agent: Agent, dials: Dials, clock: Clock
) -> None:
    said: list[str] = []
    agent.log = type("Log", (), {"info": lambda _, form, what: said.append(what)})()
    dials.cut()
    for _ in range(600):
        dials.pump(seconds=0.5)
    tries = len(dials.made) - 1
    assert 80 < tries < 200  # at most 5 s apart, 2.5 s on average
    assert [what.partition(":")[0] for what in said] == [
        "the connection to coordinator",
        "nobody answers",
    ]
    dials.outcomes.append(b"store one")
    dials.pump(seconds=15)
    assert dials.far.names()[0] == "join"


def test_many_who_lose_a_coordinator_at_once_come_back_spread(
    clock: Clock, dials: Dials, tmp_path: Path
) -> None:
    many = 500
    random = Random(3)
    everybody = []
    dials.outcomes = [b"store one"] * many
    for number in range(many):
        agent = make(clock, Slots(), tmp_path / str(number))
        agent._backoff._random = random
        agent._lag.start = lambda: None  # type: ignore[method-assign]
        agent.startService()
        everybody.append(agent)
    for _, _, pump in dials.wires:
        pump.flush()
    assert all(agent._connection is not None for agent in everybody)
    dials.made.clear()
    for _, near, pump in dials.wires:
        near.abort()
        pump.flush()
    dials.wires.clear()
    for _ in range(60):
        clock.advance(0.05)
    times = [at for at, _ in dials.made]
    buckets = [sum(start <= at < start + 0.1 for at in times) for start in _tenths(times)]
    assert max(buckets) < many / 5  # a tenth of them in each tenth of the first second
    for agent in everybody:
        assert fired(agent.stopService(0)) == [None]


def _tenths(times: list[float]) -> list[float]:
    return [n / 10 for n in range(int(max(times) * 10) + 1)]


# -- credentials ----------------------------------------------------------------------------------


def test_a_credential_is_kept_and_used_without_a_token(
    clock: Clock, dials: Dials, slots: Slots, tmp_path: Path
) -> None:
    dials.credential = CREDENTIAL
    dials.outcomes = [b"store one", b"store one"]
    first = make(clock, slots, tmp_path)
    first.startService()
    dials.pump()
    (kept,) = (tmp_path / "state" / "joined").iterdir()
    assert kept.name == f"{KEY.hex()}.token"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    dials.cut()
    dials.pump(seconds=1)
    assert dials.made[-1][1] == CREDENTIAL
    leave(first, dials)
    dials.outcomes = [b"store one"]
    second = make(clock, Slots(), tmp_path, token=None)
    second.startService()
    dials.pump()
    assert dials.made[-1][1] == CREDENTIAL
    leave(second, dials)


def test_a_credential_that_is_refused_gives_way_to_the_given_token(
    clock: Clock, dials: Dials, slots: Slots, tmp_path: Path
) -> None:
    kept = StateFolder(tmp_path / "state").joined(KEY.hex())
    kept.parent.mkdir(parents=True, mode=0o700)
    kept.parent.parent.chmod(0o700)
    kept.write_text(f"{CREDENTIAL.reveal()}\ncoordinator:8786\n")
    kept.chmod(0o600)
    dials.outcomes = [TokenRefused(), b"store one"]
    agent = make(clock, slots, tmp_path)
    agent.startService()
    dials.pump()
    assert [token for _, token in dials.made] == [CREDENTIAL, JOIN_TOKEN]
    assert fired(agent.ready) == ["box-2"]
    assert not kept.exists()


# -- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [WrongKey(), TokenRefused(), VersionMismatch()])
def test_what_another_try_cannot_mend_ends_the_agent(
    clock: Clock, dials: Dials, slots: Slots, tmp_path: Path, error: AmpacityError
) -> None:
    agent = make(clock, slots, tmp_path)
    dials.outcomes = [error]
    agent.startService()
    assert fired(agent.done)[0].value is error
    assert slots.calls == [("stop", 0)]
    assert not agent.running
    assert len(dials.made) == 1
    assert clock.getDelayedCalls() == []


def test_children_that_do_not_start_end_the_agent(
    clock: Clock, dials: Dials, slots: Slots, tmp_path: Path
) -> None:
    agent = make(clock, slots, tmp_path)
    slots.started = Deferred()
    agent.startService()
    slots.started.errback(CannotStart())
    assert fired(agent.done)[0].check(CannotStart)
    assert dials.made == []


def test_leaving_flushes_the_reports_and_says_goodbye(
    agent: Agent, dials: Dials, slots: Slots, clock: Clock
) -> None:
    slots.stopped = Deferred()
    left = leave(agent, dials, grace=3.0)
    assert ("stop", 3.0) in slots.calls
    assert dials.far.heard[-1] == ("join", (0, []))
    assert left == []
    assert slots.events is not None
    dials.far.connection.call(commands.Assign, jobs=assignments(5))
    dials.pump()
    slots.events.finished([report(1)])
    slots.stopped.callback(None)
    dials.pump()
    assert dials.far.heard[-3:] == [
        ("returned", [[5, 1, 1]]),
        ("finished", [1]),
        ("goodbye", None),
    ]
    assert left == [None]
    assert fired(agent.done) == [None]
    assert dials.far.connection.lost is not None
    assert clock.getDelayedCalls() == []


def test_leaving_without_a_connection_waits_for_nobody(
    agent: Agent, dials: Dials, clock: Clock
) -> None:
    dials.cut()
    assert leave(agent, dials) == [None]
    assert clock.getDelayedCalls() == []


def test_a_coordinator_that_does_not_answer_is_left_after_a_while(
    agent: Agent, dials: Dials, clock: Clock
) -> None:
    left = fired(agent.stopService(0))
    clock.advance(2)
    clock.advance(2)
    assert left == [None]
    dials.pump()
    assert clock.getDelayedCalls() == []


def test_leaving_twice_is_leaving_once(agent: Agent, dials: Dials) -> None:
    assert leave(agent, dials) == [None]
    assert leave(agent, dials) == [None]
