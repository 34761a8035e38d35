"""Maps and submissions whose coordinator has no room, for a while or for good."""

from __future__ import annotations

import math
from typing import Any

import pytest
from ampacity.client.pressure import Pressure
from ampacity.protocol.errors import (
    JobCancelled,
    JobsFailed,
    QueueFull,
    StorageFull,
)
from ampacity.protocol.limits import FRAMES_IN_FLIGHT
from ampacity.protocol.outcomes import Ending
from ampacity.protocol.ports import Accepted
from twisted.internet.defer import ensureDeferred, fail
from twisted.internet.task import Clock

from .waiting import SPEC, Waiting, submit, value


def wait(clock: Any, seconds: float) -> None:
    for _ in range(int(seconds / 0.05)):
        clock.advance(0.05)
        clock.turn(3)


@pytest.mark.parametrize("in_flight", [500, 20_000])
def test_a_map_waits_out_a_full_queue(pool, clock, coordinator, in_flight):
    coordinator.refuses = QueueFull("full")
    group = pool.map(math.sqrt, range(20_000), in_flight=in_flight)
    results = group.result()
    clock.turn(2000)
    wait(clock, 20)
    assert not results.called
    assert coordinator.queue == []
    assert len(coordinator.sequences) < FRAMES_IN_FLIGHT + 40  # asked now and then, by one frame
    coordinator.refuses = None
    for _ in range(1000):
        wait(clock, 0.1)
        clock.turn(100)
        coordinator.run()
        if results.called:
            break
    assert value(results) == [math.sqrt(n) for n in range(20_000)]
    assert coordinator.next - 1 == 20_000  # each item once
    assert sorted(coordinator.frames) == list(range(1, len(coordinator.frames) + 1))
    assert list(coordinator.closed_groups.values()) == [20_000]


def test_a_queue_that_is_full_every_now_and_then(pool, clock, coordinator):
    group = pool.map(math.sqrt, range(10_000), in_flight=10_000)
    results = group.result()
    for turn in range(600):
        coordinator.refuses = QueueFull("full") if len(coordinator.queue) > 500 else None
        wait(clock, 0.1)
        clock.turn(20)
        coordinator.run(300 if turn % 3 else None)
        if results.called:
            break
    assert value(results) == [math.sqrt(n) for n in range(10_000)]
    assert coordinator.next - 1 == 10_000


@pytest.mark.parametrize("refuses", ["jobs", "values"])
def test_a_full_queue_and_values_that_are_not_there(pool, clock, coordinator, refuses):
    offset = 1
    put, full = coordinator.put_blob, [True]
    results = pool.map(lambda n: n + offset, range(500), in_flight=500).result()
    if refuses == "values":
        coordinator.put_blob = lambda ref, path: fail(QueueFull()) if full else put(ref, path)
    else:
        coordinator.refuses = QueueFull("full")
    clock.turn(100)
    wait(clock, 5)
    assert not results.called
    assert len(clock.getDelayedCalls()) == 1  # it is waited for, and not in a hurry
    full.clear()
    coordinator.refuses = None
    coordinator.blobs.clear()  # a value may be forgotten meanwhile
    for _ in range(100):
        wait(clock, 0.1)
        clock.turn(20)
        coordinator.run()
    assert value(results) == [n + 1 for n in range(500)]


def test_a_submission_is_refused_at_once_though_maps_wait(pool, clock, coordinator):
    coordinator.refuses = QueueFull("the queue is full: it takes 100 jobs")
    results = pool.map(math.sqrt, range(5000), in_flight=5000).result()
    clock.turn(300)
    refused = [pool.submit(math.sqrt, 1).result() for _ in range(3)]
    clock.turn()
    for result in refused:
        with pytest.raises(QueueFull, match="100 jobs"):
            value(result)
    coordinator.refuses = None
    job = pool.submit(math.sqrt, 4).result()  # there is room again: it is not behind the map
    clock.turn()
    coordinator.run()
    assert value(job) == 2.0
    for _ in range(100):
        wait(clock, 0.1)
        clock.turn(50)
        coordinator.run()
    assert value(results) == [math.sqrt(n) for n in range(5000)]


def test_numbers_do_not_run_away_from_one_that_waits(session, clock, coordinator):
    from ampacity.client.frames import NUMBERS_AHEAD
    from ampacity.client.tallies import GroupTally

    coordinator.refuses = QueueFull("full")
    first = Waiting()
    tally = GroupTally(session.new_group_number())
    session.submit(first, SPEC, b"", tally=tally, place=0)
    clock.turn()
    real, coordinator.submit = coordinator.submit, None

    def maps_only(sequence: int, submissions: Any, group: Any) -> Any:
        coordinator.refuses = QueueFull("full") if group is not None else None
        return real(sequence, submissions, group)

    coordinator.submit = maps_only
    entries = []
    for _ in range(NUMBERS_AHEAD + 50):
        entries += submit(session)
        clock.turn(2)
    assert max(coordinator.frames) == NUMBERS_AHEAD
    assert first.id is None
    coordinator.submit, coordinator.refuses = real, None
    wait(clock, 10)
    assert first.id is not None
    assert all(entry.id is not None for entry in entries)


def test_a_map_that_waits_for_room_is_cancelled_at_once(pool, clock, coordinator):
    coordinator.refuses = QueueFull("full")
    group = pool.map(math.sqrt, range(3000), in_flight=3000)
    results = group.result()
    clock.turn(300)
    group.cancel()
    clock.turn()
    with pytest.raises(JobsFailed) as failed:
        value(results)
    assert {type(error) for error in failed.value.failures.values()} == {JobCancelled}
    assert len(failed.value.failures) == 3000
    coordinator.refuses = None
    wait(clock, 5)
    assert coordinator.queue == []
    numbers = sorted(coordinator.frames)
    assert numbers == list(range(1, len(numbers) + 1))  # no gap stays


def test_what_a_cancelled_frame_had_brought_after_all_is_cancelled(session, clock, coordinator):
    """It was refused over one connection, and accepted late over the one before."""
    from ampacity.client.tallies import GroupTally

    coordinator.refuses = QueueFull("full")
    entry, tally = Waiting(), GroupTally(session.new_group_number())
    session.submit(entry, SPEC, b"", tally=tally, place=0)
    clock.turn()
    session.cancel(entry)
    assert entry.told == [Ending.CANCELLED]
    coordinator.refuses = None
    coordinator.frames[1] = Accepted(ids=((7, 1),), group=None)
    wait(clock, 2)
    assert coordinator.cancelled == [7]
    assert entry.told == [Ending.CANCELLED]


def test_a_pool_that_is_closed_waits_for_no_room(pool, clock, coordinator):
    coordinator.refuses = QueueFull("full")
    results = pool.map(math.sqrt, range(100)).result()
    clock.turn()
    value(pool.close())
    with pytest.raises(JobsFailed):
        value(results)


def test_a_map_is_told_that_nothing_more_can_be_stored(pool, clock, coordinator):
    group = pool.map(math.sqrt, range(10_000), in_flight=300)
    results = group.result()
    clock.turn(20)
    coordinator.refuses = StorageFull("the disk is full")
    taken = len(coordinator.queue)
    coordinator.run()
    clock.turn(50)
    with pytest.raises(StorageFull) as full:
        value(results)
    assert str(full.value) == (
        f"the disk is full (of this map, {taken} items were accepted, and go on as {group.id}; "
        "make room and map again; with options(key=...), what was accepted is not run twice)"
    )
    assert taken > 0
    clock.turn(50)
    assert list(coordinator.closed_groups.values()) == [taken]
    assert coordinator.cancelled == coordinator.queued_only == []
    sent = len(coordinator.sequences)
    wait(clock, 10)
    assert len(coordinator.sequences) == sent  # nothing is tried any more
    with pytest.raises(StorageFull):
        value(group.result())


@pytest.mark.parametrize("how", ["async for", "as_completed"])
@pytest.mark.parametrize("errors", ["raise", "return"])
def test_so_is_a_stream_and_leaves_what_was_accepted(pool, clock, coordinator, how, errors):
    group = pool.map(math.sqrt, range(10_000), in_flight=100, errors=errors)
    got: list[float] = []

    async def read() -> None:
        async for one in group if how == "async for" else group.as_completed():
            got.append(one)  # noqa: PERF401  # what came before an error counts

    reading = ensureDeferred(read())
    clock.turn()
    coordinator.run()
    clock.turn()
    assert len(got) == 100
    coordinator.refuses = StorageFull("the disk is full")
    coordinator.run()
    clock.turn(50)
    with pytest.raises(StorageFull):
        value(reading)
    assert coordinator.queued_only == coordinator.cancelled == []


def test_a_submission_fails_where_nothing_can_be_stored(pool, clock, coordinator):
    coordinator.refuses = StorageFull("the disk is full")
    result = pool.submit(math.sqrt, 1).result()
    clock.turn()
    with pytest.raises(StorageFull, match="disk is full"):
        value(result)


def test_pauses_grow_and_are_random():
    clock, tries = Clock(), list[float]()
    pressure = Pressure(clock, lambda: tries.append(clock.seconds()))
    pressure.refused()
    pressure.refused()  # sent together with the first
    for _ in range(12):
        while not pressure.may_ask():
            clock.advance(0.01)
        pressure.asked()
        assert not pressure.may_ask()
        pressure.refused()
    pauses = [after - before for before, after in zip([0.0, *tries], tries, strict=False)]
    assert 0.02 < pauses[0] < 0.07
    assert 0.9 < max(pauses[6:]) < 2.1
    assert len(set(pauses)) > 5
    pressure.stop()
    assert clock.getDelayedCalls() == []
