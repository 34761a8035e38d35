"""An agent whose coordinator is gone, has no room, or does not answer; and how it leaves then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ampacity.protocol import commands
from ampacity.protocol.errors import StorageFull
from ampacity.protocol.ids import Attempt, JobId
from ampacity.protocol.jobs import BlobRef
from ampacity.protocol.outcomes import Ending, Report, unpack_reports
from ampacity.protocol.ports import Ended, Holding
from ampacity.workers import uplink as uplinks
from ampacity.workers.agent import FLUSH_SECONDS, Agent
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

STORE = b"store one"


def fired(deferred: Any) -> list[Any]:
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results


def report(job: int, size: int = 0) -> Report:
    body = bytes([job % 251]) * size
    return Report(JobId(job), Attempt(1, job), Ending.SUCCEEDED, 1.0, 0.5, body)


def jobs_of(frames: list[bytes]) -> list[int]:
    return [r.job for frame in frames for r in unpack_reports(frame)]


def goodbyes(dials: Any) -> int:
    return sum(name == "goodbye" for far, _, _ in dials.wires for name in far.names())


def full() -> Deferred[Any]:
    return fail(StorageFull("the disk is full"))


# -- a coordinator that is gone -------------------------------------------------------------------


def test_it_keeps_all_for_hours_and_tells_it_in_order_with_the_same_bytes(
    agent: Agent, dials: Any, slots: Any
) -> None:
    reports = [report(n, size=500) for n in range(1, 301)]
    for one in reports[:100]:
        slots.events.finished([one])
    dials.answer = Deferred  # it hears, and dies before it answers
    dials.pump()
    dials.cut()
    for one in reports[100:]:
        slots.events.finished([one])
    for _ in range(100):
        dials.pump(seconds=60)
    dials.answer = dict
    dials.outcomes.append(STORE)
    dials.pump(seconds=5)
    (offered, held) = dials.far.heard[0][1]
    assert offered == 2
    assert [job for job, *_ in held] == list(range(1, 301))
    again = [r for frame in dials.far.frames for r in unpack_reports(frame)]
    assert again == reports


def test_it_is_back_within_seconds_of_the_coordinators_return(
    agent: Agent, dials: Any, clock: Clock
) -> None:
    dials.cut()
    dials.pump(seconds=3600)
    for _ in range(20):
        dials.pump(seconds=5)
    dials.outcomes.append(STORE)
    dials.pump(seconds=5)
    assert dials.far.names()[0] == "join"


def test_what_waits_beyond_a_bound_goes_to_files_and_holds_back_jobs(
    clock: Clock, dials: Any, slots: Any, make: Any, tmp_path: Path
) -> None:
    agent = make(clock, slots, tmp_path, kept_bytes=20_000)
    agent._uplink._reports._memory_bytes = agent._uplink._reports._segment_bytes = 5000
    dials.outcomes.append(STORE)
    agent.startService()
    dials.pump()
    dials.cut()
    reports = [report(n, size=920) for n in range(1, 41)]
    recorded = [fired(slots.events.finished([one])) for one in reports]
    assert slots.calls[-1] == ("hold back", True)
    assert len(list((tmp_path / "agent" / "reports").iterdir())) == 7
    assert recorded[0] == [] and recorded[20] == [None]  # the slots are rid of it
    dials.outcomes.append(STORE)
    dials.pump(seconds=5)
    assert [job for job, *_ in dials.far.heard[0][1][1]] == list(range(1, 41))
    again = [r for frame in dials.far.frames for r in unpack_reports(frame)]
    assert again == reports
    assert slots.calls[-1] == ("hold back", False)
    assert list((tmp_path / "agent" / "reports").iterdir()) == []
    assert fired(agent.stopService(0)) == []
    dials.pump()


def test_nothing_of_it_is_told_to_another_store(
    clock: Clock, dials: Any, slots: Any, make: Any, tmp_path: Path
) -> None:
    agent = make(clock, slots, tmp_path, kept_bytes=20_000)
    agent._uplink._reports._memory_bytes = agent._uplink._reports._segment_bytes = 5000
    dials.outcomes.append(STORE)
    agent.startService()
    dials.pump()
    dials.cut()
    for n in range(1, 41):
        slots.events.finished([report(n, size=920)])
    dials.outcomes.append(b"store two")
    dials.pump(seconds=5)
    assert dials.far.heard[0] == ("join", (2, []))
    assert dials.far.frames == []
    assert slots.calls[-2:] == [("hold back", False), ("drop", [])]
    agent.stopService(0)
    dials.pump()


def test_superseded_reports_are_forgotten(agent: Agent, dials: Any, slots: Any) -> None:
    dials.answer = full
    slots.events.finished([report(1)])
    dials.pump()
    recorded = [fired(slots.events.finished([report(n)])) for n in (2, 3)]
    dials.far.connection.call(commands.EndAttempts, attempts=[[2, 1, 2, "superseded"]])
    dials.pump()
    assert slots.calls[-1] == ("end", [Ended(JobId(2), Attempt(1, 2), "superseded")])
    assert recorded == [[None], []]
    dials.answer = dict
    dials.far.frames.clear()
    for _ in range(3):
        dials.pump(seconds=1)
    assert jobs_of(dials.far.frames) == [1, 3]


# -- a coordinator that has no room ---------------------------------------------------------------


def test_reports_for_which_there_is_no_room_come_again_in_order(
    agent: Agent, dials: Any, slots: Any
) -> None:
    dials.answer = full
    recorded = [fired(slots.events.finished([report(n)])) for n in range(1, 201)]
    for _ in range(60):
        dials.pump(seconds=1)
    refused = len(dials.far.frames)
    assert 4 < refused < 60  # it backs off
    assert dials.far.connection.lost is None
    slots.events.finished([report(201)])
    assert {h.job for h in agent._uplink.reported()} == set(range(1, 202))
    dials.far.frames.clear()
    dials.answer = dict
    for _ in range(16):
        dials.pump(seconds=1)
    assert jobs_of(dials.far.frames) == list(range(1, 202))
    assert recorded == [[None]] * 200
    assert len(dials.wires) == 1


def test_a_connection_that_goes_while_there_is_no_room_changes_nothing(
    agent: Agent, dials: Any, slots: Any
) -> None:
    dials.answer = full
    for n in range(1, 101):
        slots.events.finished([report(n)])
    dials.pump()
    dials.cut()
    dials.answer = dict
    dials.outcomes.append(STORE)
    for _ in range(16):
        dials.pump(seconds=1)
    assert jobs_of(dials.far.frames) == list(range(1, 101))
    assert agent._uplink.reported() == []


def test_a_result_for_which_there_is_no_room_stays_in_its_file(
    agent: Agent, dials: Any, slots: Any, tmp_path: Path
) -> None:
    file = tmp_path / "result"
    file.write_bytes(bytes(400))
    stored: list[dict[str, Any]] = []
    room = False

    class Taking(type(dials.far)):  # type: ignore[misc]  # a class that only the fixture knows
        @commands.PutChunk.responder
        def put(self, **chunk: Any) -> dict[str, Any]:
            if not room:
                raise StorageFull("the disk is full")
            stored.append(chunk)
            return {"have": True}

    taking = Taking([])
    dials.far.connection.locator = taking
    done = fired(slots.events.store(BlobRef(b"r" * 32, 400), file))
    for _ in range(60):
        dials.pump(seconds=1)
    assert done == [] and stored == [] and file.exists()
    assert agent._uplink.waiting() == {"reports": 0, "bytes": 400}
    room = True
    for _ in range(16):
        dials.pump(seconds=1)
    assert done == [None]
    assert len(stored) == 1
    assert not file.exists()
    assert agent._uplink.waiting() == {"reports": 0, "bytes": 0}


def test_results_that_wait_are_bounded_too(
    agent: Agent, dials: Any, slots: Any, tmp_path: Path
) -> None:
    dials.cut()
    stored = fired(slots.events.store(BlobRef(b"r" * 32, uplinks.KEPT_BYTES + 1), tmp_path / "no"))
    assert slots.calls[-1] == ("hold back", True)
    agent._uplink.forget()
    assert slots.calls[-1] == ("hold back", False)
    assert len(stored) == 1


# -- orders ---------------------------------------------------------------------------------------


def test_an_order_that_always_fails_is_logged_once_and_backs_off(
    agent: Agent, dials: Any, slots: Any, clock: Clock, logged_errors: Any
) -> None:
    slots.reload = {}.popitem
    for _ in range(60):
        answer = fired(dials.far.connection.call(commands.Reload))
        dials.pump()
        assert "cannot be carried out" in str(answer[0].value)
        dials.cut()
        dials.outcomes.append(STORE)
        before = len(dials.wires)
        while len(dials.wires) == before:
            dials.pump(seconds=0.1)
    assert len(logged_errors(KeyError)) == 1
    assert clock.seconds() > 60  # 2.5 s on average, in the end


# -- leaving --------------------------------------------------------------------------------------


def test_it_leaves_when_the_coordinator_says_so(
    agent: Agent, dials: Any, slots: Any, clock: Clock
) -> None:
    told = fired(dials.far.connection.call(commands.Drain))
    dials.pump()
    dials.pump()
    assert told == [{}]
    assert ("stop", 10.0) in slots.calls
    assert dials.far.heard[1] == ("join", (0, []))
    assert dials.far.names()[-1] == "goodbye"
    assert fired(agent.done) == [None]
    assert fired(agent.stopService()) == [None]
    assert clock.getDelayedCalls() == []


def test_it_leaves_when_its_lifetime_is_over(
    clock: Clock, dials: Any, slots: Any, make: Any, tmp_path: Path
) -> None:
    agent = make(clock, slots, tmp_path, lifetime=100.0, grace=30.0)
    dials.outcomes.append(STORE)
    agent.startService()
    dials.pump()
    for _ in range(69):
        dials.pump(seconds=1)
    assert ("stop", 30.0) not in slots.calls
    dials.pump(seconds=1)
    dials.pump()
    assert ("stop", 30.0) in slots.calls
    assert fired(agent.done) == [None]
    assert clock.getDelayedCalls() == []


def test_a_lifetime_that_is_shorter_than_the_grace_lets_it_join_first(
    clock: Clock, dials: Any, slots: Any, make: Any, tmp_path: Path
) -> None:
    agent = make(clock, slots, tmp_path, lifetime=5.0, grace=30.0)
    dials.outcomes.append(STORE)
    agent.startService()
    dials.pump()
    dials.pump()
    assert fired(agent.done) == [None]


def test_asked_again_it_hurries(agent: Agent, dials: Any, slots: Any, clock: Clock) -> None:
    slots.stopped = Deferred()
    first = fired(agent.stopService(100))
    second = fired(agent.stopService(0))
    third = fired(agent.stopService())
    assert [call for call in slots.calls if call[0] == "stop"] == [
        ("stop", 100), ("stop", 0), ("stop", 10.0),
    ]  # fmt: skip
    dials.pump()
    assert (first, second, third) == ([], [], [])
    slots.stopped.callback(None)
    dials.pump()
    assert (first, second, third) == ([None], [None], [None])


def test_one_who_waits_for_its_end_and_gives_up_changes_nothing(
    agent: Agent, dials: Any, slots: Any
) -> None:
    slots.stopped = Deferred()
    waiting = agent.stopService()
    given_up = fired(waiting)
    waiting.cancel()
    assert len(given_up) == 1
    slots.stopped.callback(None)
    dials.pump()
    assert fired(agent.done) == [None]
    assert dials.far.names()[-1] == "goodbye"


def test_a_connection_that_comes_back_within_the_grace_takes_the_rest(
    agent: Agent, dials: Any, slots: Any, clock: Clock
) -> None:
    dials.cut()
    slots.stopped = Deferred()
    slots.holds = [Holding(JobId(1), Attempt(1, 1))]
    left = fired(agent.stopService(60))
    slots.events.returned(slots.holds)
    slots.holds = []
    slots.events.finished([report(2)])
    slots.stopped.callback(None)
    for _ in range(20):
        dials.pump(seconds=1)
    assert left == []
    dials.outcomes.append(STORE)
    for _ in range(6):
        dials.pump(seconds=1)
    assert dials.far.heard == [
        ("join", (0, [[2, 1, 2]])),
        ("returned", [[1, 1, 1]]),
        ("finished", [2]),
        ("goodbye", None),
    ]
    assert left == [None]
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("answers", [False, True])
def test_a_coordinator_that_does_not_take_the_rest_is_left_in_the_end(
    agent: Agent, dials: Any, slots: Any, clock: Clock, answers: bool
) -> None:
    dials.answer = full if answers else Deferred
    slots.events.finished([report(1)])
    dials.pump()
    left = fired(agent.stopService(3))
    for _ in range(int(FLUSH_SECONDS) - 1):
        dials.pump(seconds=1)
    assert left == []
    for _ in range(3):
        dials.pump(seconds=1)
    assert left == [None]
    assert goodbyes(dials) == 1
    assert fired(agent.done) == [None]
    assert clock.getDelayedCalls() == []


def test_without_a_connection_it_leaves_at_the_end_of_the_grace(
    agent: Agent, dials: Any, slots: Any, clock: Clock
) -> None:
    dials.cut()
    slots.events.finished([report(1)])
    left = fired(agent.stopService(30))
    for _ in range(29):
        dials.pump(seconds=1)
    assert left == []
    agent.stopService(0)  # and a second signal shortens that
    for _ in range(int(FLUSH_SECONDS) + 1):
        dials.pump(seconds=1)
    assert left == [None]
    assert clock.getDelayedCalls() == []
