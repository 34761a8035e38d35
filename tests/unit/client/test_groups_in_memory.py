"""Groups, streams and jobs of other programs, with a coordinator in memory and a clock."""

from __future__ import annotations

import math
import operator
from typing import Any

import pytest
from ampacity.protocol.errors import (
    JobCancelled,
    JobsFailed,
    NoSuchJob,
)
from ampacity.protocol.outcomes import Ending, Outcome
from twisted.internet.defer import Deferred, ensureDeferred

from .waiting import value

# -- groups ----------------------------------------------------------------------------------------


def test_a_map_gives_a_list_in_order(pool, clock, coordinator):
    group = pool.map(operator.sub, [5, 6, 7], (1, 1))
    result = group.result()
    clock.turn()
    coordinator.run()
    assert value(result) == [4, 5]
    assert value(group.result()) == [4, 5]
    assert group.id == "g101"
    assert coordinator.closed_groups == {1: 2}


def test_an_empty_map(pool, clock):
    result = pool.map(math.sqrt, []).result()
    clock.turn()
    assert value(result) == []


def test_failures_are_collected(pool, clock, coordinator):
    result = pool.map(math.sqrt, [4, -1, 9]).result()
    clock.turn()
    coordinator.run()
    with pytest.raises(JobsFailed, match=r"1 of 3 jobs did not succeed.*item 1: ValueError") as e:
        value(result)
    assert e.value.results == {0: 2, 2: 3}
    assert list(e.value.failures) == [1]


def test_failures_in_their_places(pool, clock, coordinator):
    result = pool.map(math.sqrt, [4, "no", -1], errors="return").result()
    clock.turn()
    coordinator.run()
    first, second, third = value(result)
    assert first == 2
    assert isinstance(second, TypeError)
    assert isinstance(third, ValueError)


def test_the_first_failure_cancels_the_rest(pool, clock, coordinator):
    result = pool.map(math.sqrt, [-1, 4, 9], errors="cancel").result()
    clock.turn()
    coordinator.run(1)
    clock.turn()
    with pytest.raises(JobsFailed) as e:
        value(result)
    assert isinstance(e.value.__cause__, ValueError)
    assert isinstance(e.value.failures[2], JobCancelled)
    assert coordinator.cancelled == [2, 3]


def test_the_input_is_pulled_as_results_are_taken(pool, clock, coordinator):
    pulled: list[int] = []

    def numbers() -> Any:
        for n in range(1000):
            pulled.append(n)
            yield n

    group = pool.map(math.sqrt, numbers(), in_flight=10)
    clock.turn()
    assert len(pulled) == 10
    coordinator.run()
    clock.turn()
    assert len(pulled) == 10, "undelivered results count"
    stream = aiter(group)
    assert [value(ensureDeferred(anext(stream))) for _ in range(5)] == [
        math.sqrt(n) for n in range(5)
    ]
    clock.turn()
    assert 10 < len(pulled) <= 15
    del stream


def test_leaving_a_stream_early_ends_what_has_not_begun(pool, clock, coordinator):
    ended: list[str] = []

    def numbers() -> Any:
        try:
            yield from range(1000)
        finally:
            ended.append("closed")

    seen = []

    async def first_two() -> None:
        async for root in pool.map(math.sqrt, numbers(), in_flight=8):
            seen.append(root)
            if len(seen) == 2:
                break

    work = ensureDeferred(first_two())
    clock.turn()
    coordinator.run(3)
    clock.turn()
    value(work)
    assert seen == [0, 1]
    assert ended == ["closed"]
    assert set(range(4, 9)) <= set(coordinator.queued_only)
    assert coordinator.queue == []


def test_as_completed(pool, clock, coordinator):
    group = pool.map(math.sqrt, [1, 4, 9])
    clock.turn()
    coordinator.queue.reverse()
    coordinator.run()

    async def collect() -> list[float]:
        return [root async for root in group.as_completed()]

    assert value(ensureDeferred(collect())) == [3, 2, 1]


def test_an_asynchronous_input_in_a_twisted_program(pool, clock, coordinator):
    gates = [Deferred() for _ in range(3)]

    async def numbers() -> Any:
        for n, gate in enumerate(gates):
            await gate
            yield n

    result = pool.map(math.sqrt, numbers()).result()
    clock.turn()
    for gate in gates:
        gate.callback(None)
        clock.turn()
        coordinator.run()
    clock.turn()
    assert value(result) == [math.sqrt(n) for n in range(3)]


def test_an_input_that_raises(pool, clock, coordinator):
    def numbers() -> Any:
        yield 1
        raise LookupError("no more")

    group = pool.map(math.sqrt, numbers())
    result = group.result()
    clock.turn()
    coordinator.run()
    with pytest.raises(LookupError, match="no more"):
        value(result)


def test_a_group_is_read_in_one_way(pool):
    group = pool.map(math.sqrt, [1])
    group.as_completed()
    with pytest.raises(RuntimeError, match="by as_completed"):
        aiter(group)


def test_submitted_takes_in_everything(pool, clock, coordinator):
    group = pool.map(math.sqrt, range(100), in_flight=10)
    done = group.submitted()
    for _ in range(20):
        clock.turn()
        coordinator.run()
    clock.turn()
    assert value(done) == 100


def test_cancelling_a_group(pool, clock, coordinator):
    group = pool.map(math.sqrt, range(5))
    clock.turn()
    group.cancel()
    clock.turn()
    assert sorted(coordinator.cancelled) == [1, 2, 3, 4, 5]
    with pytest.raises(JobsFailed):
        value(group.result())


def test_keys_of_a_map_are_one_an_item(pool, clock, coordinator):
    pool.options(key="night").map(math.sqrt, [1, 4])
    clock.turn()
    assert [job.key for _, job in coordinator.queue] == ["night:0", "night:1"]


# -- from other programs ---------------------------------------------------------------------------


def test_a_job_of_another_program(pool, clock, coordinator):
    job = pool.job(17)
    result = job.result()
    clock.turn()
    assert coordinator.watched == [17]
    coordinator.end(17, Ending.SUCCEEDED, Outcome())
    assert value(result) is None
    unknown = pool.job(1000).result()
    clock.turn()
    with pytest.raises(NoSuchJob, match="1000"):
        value(unknown)


def test_a_group_of_another_program(pool, clock, coordinator):
    coordinator.answers["group"] = {"name": "roots"}
    coordinator.answers["select"] = {"ids": [[5, 2], [9, 1]], "next": None}
    result = pool.group("g3").result()
    clock.turn()
    assert coordinator.watched == [5, 6, 9]
    for job in (5, 6, 9):
        coordinator.end(job, Ending.SUCCEEDED, Outcome(value=bytes([0x80, 5, 75, job, 46])))
    assert value(result) == [5, 6, 9]


def test_jobs_by_name(pool, clock, coordinator):
    pages = iter(
        [
            {"jobs": [{"id": 3, "name": "x", "target": "t"}], "next": 3},
            {"jobs": [{"id": 4, "name": "x", "target": "t"}], "next": None},
        ]
    )
    coordinator.answers["jobs"] = lambda details: next(pages)
    jobs = value(pool.jobs(name="x"))
    assert [(job.id, job.name) for job in jobs] == [(3, "x"), (4, "x")]
