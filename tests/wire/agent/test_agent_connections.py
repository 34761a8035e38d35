"""The agent over connections in memory, with a clock: joining, coming back, leaving."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from ampacity.protocol import commands
from ampacity.protocol.access import StateFolder
from ampacity.protocol.errors import (
    AmpacityError,
    CannotStart,
    TokenRefused,
    VersionMismatch,
    WrongKey,
)
from ampacity.protocol.ids import Attempt, ClientId, JobId
from ampacity.protocol.jobs import Assignment, JobSpec, pack_assignments, pack_spec
from ampacity.protocol.outcomes import Ending, Report, unpack_log
from ampacity.protocol.ports import Ended, Holding
from ampacity.protocol.tokens import Token
from ampacity.workers.agent import Agent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

KEY = b"k" * 32
JOIN_TOKEN = Token("worker", KEY, "join-token", b"s" * 16)
CREDENTIAL = Token("worker", KEY, "credential", b"c" * 16)


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


def leave(agent: Agent, dials: Any, grace: float | None = None) -> list[Any]:
    left = fired(agent.stopService(grace))
    dials.pump()
    return left


# -- joining --------------------------------------------------------------------------------------


def test_an_agent_joins_with_what_it_offers(agent: Agent, dials: Any) -> None:
    assert dials.far.heard == [("join", (2, []))]
    assert fired(agent.ready) == ["box-2"]
    assert dials.made == [(0.0, JOIN_TOKEN)]


def test_its_load_is_told_every_second(agent: Agent, dials: Any) -> None:
    for _ in range(3):
        dials.pump(seconds=1)
    assert dials.far.heard[1:] == [("state", ["cpu", "lag", "memory", "waiting"])] * 3


def test_orders_reach_the_slots(agent: Agent, dials: Any, slots: Any) -> None:
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
    agent: Agent, dials: Any, slots: Any, command: Any, arguments: Any
) -> None:
    answer = fired(dials.far.connection.call(command, **arguments))
    dials.pump()
    assert answer[0].check(AmpacityError)
    assert dials.far.connection.lost is None
    assert [call for call in slots.calls if call[0] != "drop"] == []


# -- coming back ----------------------------------------------------------------------------------


def test_it_comes_back_and_says_what_it_holds(
    agent: Agent, dials: Any, slots: Any, clock: Clock
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
    agent: Agent, dials: Any, slots: Any
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
    agent: Agent, dials: Any, slots: Any
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
    agent: Agent, dials: Any, clock: Clock
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
    clock: Clock, dials: Any, tmp_path: Path, make: Any, new_slots: Any
) -> None:
    many = 500
    random = Random(3)
    everybody = []
    dials.outcomes = [b"store one"] * many
    for number in range(many):
        agent = make(clock, new_slots(), tmp_path / str(number))
        agent._backoff._random = random
        agent._lag.start = lambda: None
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
    clock: Clock, dials: Any, slots: Any, tmp_path: Path, make: Any, new_slots: Any
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
    second = make(clock, new_slots(), tmp_path, token=None)
    second.startService()
    dials.pump()
    assert dials.made[-1][1] == CREDENTIAL
    leave(second, dials)


def test_a_credential_that_is_refused_gives_way_to_the_given_token(
    clock: Clock, dials: Any, slots: Any, tmp_path: Path, make: Any
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


def test_who_was_shut_out_does_not_come_back_with_the_token_that_others_still_use(
    clock: Clock, dials: Any, slots: Any, tmp_path: Path, make: Any
) -> None:
    dials.credential = CREDENTIAL
    dials.outcomes = [b"store one", TokenRefused(), b"store one"]
    agent = make(clock, slots, tmp_path)
    agent.startService()
    dials.pump()
    dials.cut()
    dials.pump(seconds=1)
    assert [token for _, token in dials.made] == [JOIN_TOKEN, CREDENTIAL]
    assert fired(agent.done)[0].check(TokenRefused)


# -- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [WrongKey(), TokenRefused(), VersionMismatch()])
def test_what_another_try_cannot_mend_ends_the_agent(
    clock: Clock, dials: Any, slots: Any, tmp_path: Path, error: AmpacityError, make: Any
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
    clock: Clock, dials: Any, slots: Any, tmp_path: Path, make: Any
) -> None:
    agent = make(clock, slots, tmp_path)
    slots.started = Deferred()
    agent.startService()
    slots.started.errback(CannotStart())
    assert fired(agent.done)[0].check(CannotStart)
    assert dials.made == []


def test_leaving_flushes_the_reports_and_says_goodbye(
    agent: Agent, dials: Any, slots: Any, clock: Clock
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
        ("finished", [1]),
        ("returned", [[5, 1, 1]]),
        ("goodbye", None),
    ]
    assert left == [None]
    assert fired(agent.done) == [None]
    assert dials.far.connection.lost is not None
    assert clock.getDelayedCalls() == []


def test_leaving_without_a_connection_waits_for_nobody(
    agent: Agent, dials: Any, clock: Clock
) -> None:
    dials.cut()
    assert leave(agent, dials) == [None]
    assert clock.getDelayedCalls() == []


def test_a_coordinator_that_does_not_answer_is_left_after_a_while(
    agent: Agent, dials: Any, clock: Clock
) -> None:
    left = fired(agent.stopService(0))
    clock.advance(2)
    clock.advance(2)
    assert left == [None]
    dials.pump()
    assert clock.getDelayedCalls() == []


def test_leaving_twice_is_leaving_once(agent: Agent, dials: Any) -> None:
    assert leave(agent, dials) == [None]
    assert leave(agent, dials) == [None]
