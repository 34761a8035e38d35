"""How jobs are spread over slots, in virtual time: short ones in frames, long ones each by itself,
and none for long behind another that takes longer than it seemed."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from ampacity.coordinator.placement import PORTION
from ampacity.tests.properties.played_slots import EACH, FRAME, ROUND, WAY, PlayedSlots
from hypothesis import given, settings
from hypothesis import strategies as st

BOUND = 0.1
"""Seconds that a job may wait behind a long one, while there are free slots elsewhere."""


@pytest.mark.parametrize("each_frame", [0.0, ROUND])
@pytest.mark.parametrize("each", [1, 2])
@pytest.mark.parametrize("slots", [2, 8, 64])
@pytest.mark.parametrize("seconds", [0.0002, 0.0005, 0.001, 0.003, 0.01])
def test_a_map_uses_all_slots_evenly(
    slots: int, each: int, seconds: float, each_frame: float
) -> None:
    house = PlayedSlots(slots // each, each, each_frame)
    house.learn(seconds)
    count = 1000
    house.submit([seconds] * count)
    began = house.now
    house.run()
    sent = max((count // FRAME) * EACH, len(house.frames) * each_frame)
    soonest = max(count * seconds / slots, sent) + 2 * WAY
    made = max(house.ended.values()) - began
    even = 1.03 if not each_frame else 1.2  # frames wait for each other
    assert made <= soonest * even + max(PORTION, 3 * seconds), (made, soonest)
    assert len({name for name, _ in house.frames}) == slots // each


def test_a_frame_carries_more_where_more_of_them_would_take_longer() -> None:
    house = PlayedSlots(64)
    house.learn(0.0005)
    house.submit([0.0005] * 1000)
    house.run()
    assert len(house.frames) < 500


@pytest.mark.parametrize("count", [1, 2, 10, 64])
def test_a_few_short_jobs_are_done_as_soon_as_with_a_slot_for_each(count: int) -> None:
    for seconds in (0.0, 20e-6, 100e-6, 400e-6):
        house = PlayedSlots(100)
        house.learn(seconds)
        house.submit([seconds] * count)
        began = house.now
        house.run()
        sent = len(house.frames) * ROUND
        each = seconds if count <= 2 else max(seconds, PORTION)
        soonest = max(2 * WAY + seconds + count * ROUND, 2 * WAY + sent + each)
        assert max(house.ended.values()) - began <= soonest + 0.0001
        assert len(house.frames) <= count // 2 + 2


def test_short_jobs_come_to_few_of_many_workers() -> None:
    house = PlayedSlots(1000, 2)
    house.learn(10e-6)
    house.submit([10e-6] * FRAME)
    house.run()
    assert len(house.frames) <= 2
    house.rest()
    house.submit([10e-6] * FRAME * 20)
    house.run()
    assert len(house.frames) <= 2 * 20
    most = Counter(name for name, _ in house.frames).most_common(1)
    assert most[0][1] == 1, "others had their turn before"


def test_long_jobs_go_to_a_slot_each_at_once() -> None:
    for seconds in (PORTION, 0.01, 1.0):
        house = PlayedSlots(64)
        house.learn(seconds)
        house.submit([seconds] * 64)
        house.run()
        assert [jobs for _, jobs in house.frames] == [1] * 64


def test_an_unknown_function_goes_to_a_slot_each() -> None:
    house = PlayedSlots(64)
    house.submit([1e-5] * 40)
    house.run()
    assert [jobs for _, jobs in house.frames] == [1] * 40


def test_a_long_job_among_short_ones_keeps_none_from_others_for_long() -> None:
    house = PlayedSlots(64)
    house.learn(10e-6)
    for place in (0, 1, 30):
        jobs = [10e-6] * 64
        jobs[place] = 1.0
        began = house.now
        house.submit(jobs)
        house.run()
        late = sorted(begun - began for begun in house.begun.values())
        assert late[-1] < BOUND, late[-5:]
        house.learn(10e-6)


@pytest.mark.parametrize(("workers", "slots"), [(64, 1), (40, 2), (1000, 2)])
def test_jobs_that_only_seem_short_are_spread_soon(workers: int, slots: int) -> None:
    house = PlayedSlots(workers, slots)
    house.learn(10e-6)
    began = house.now
    house.submit([1.0] * 64)
    house.run()
    assert max(house.begun.values()) - began < BOUND
    assert max(house.ended.values()) - began < 1.0 + BOUND


@pytest.mark.parametrize("workers", [64, 1000])
def test_a_function_that_takes_milliseconds_all_of_a_sudden_is_spread_soon(workers: int) -> None:
    house = PlayedSlots(workers)
    house.learn(10e-6)
    began = house.now
    house.submit([0.005] * 640)
    house.run()
    ideal = 0.005 * 640 / workers
    assert max(house.ended.values()) - began < ideal + BOUND


def test_clients_with_long_and_with_short_jobs_have_their_turns() -> None:
    house = PlayedSlots(8)
    house.learn(10e-6)
    house.learn(0.02, "m:long")
    house.submit([0.02] * 40, "m:long", "other")
    house.submit([10e-6] * 640)
    house.submit([0.02] * 8, "m:unknown", "third")
    began = house.now
    house.run()
    ideal = 0.02 * 48 / 8
    assert max(house.ended.values()) - began < ideal + 0.045


@settings(max_examples=60, deadline=None)
@given(
    workers=st.integers(1, 40),
    slots=st.integers(1, 3),
    seed=st.integers(0, 1000),
    seems=st.sampled_from([0.0, 1e-5, 2e-4, 2e-3]),
)
def test_no_job_waits_for_long_while_slots_are_free(
    workers: int, slots: int, seed: int, seems: float
) -> None:
    """Whatever functions seem to take, and do: with a slot for each long job and one more, every
    job has begun when it is due, and soon after that."""
    random = Random(seed)
    house = PlayedSlots(workers, slots)
    house.learn(seems)
    house.learn(1e-5, "m:g")
    free = workers * slots - 1
    jobs = [1e-5] * 200
    for place in random.sample(range(200), min(free, 10)):
        jobs[place] = random.choice([0.003, 0.2, 1.0])
    began = house.now
    house.submit(jobs)
    house.submit([random.choice([1e-5, 1e-3]) for _ in range(100)], "m:g", "d")
    house.run()
    work = sum(one for one in jobs if one < 0.1) + 0.1
    assert max(house.begun.values()) - began < work / (workers * slots) + 3 * BOUND
    house.scheduler.check_invariants()
    assert not house.scheduler.state.counts[0]
