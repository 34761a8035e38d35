"""Queues with jobs that end while they wait, and the wheel of what falls due."""

from __future__ import annotations

from ampacity.coordinator.queues import BLOCK, HOT, SMALL, WARM, JobQueue, Queues
from ampacity.coordinator.records import ClientRecord, CostRecord, JobRecord, SpecRecord
from ampacity.coordinator.transitions import CANCELLED
from ampacity.coordinator.wheel import EMPTIED_SLOTS, SLOTS_PER_SECOND, Wheel
from ampacity.protocol.ids import ClientId, JobId
from ampacity.protocol.jobs import JobSpec, pack_spec
from hypothesis import given
from hypothesis import strategies as st

_SPEC = JobSpec(kind="import", target="m:f")
_RECORD = SpecRecord(pack_spec(_SPEC), _SPEC, CostRecord())
_CLIENT = ClientRecord(ClientId("c"))


def job(number: int, payload: bytes = b"") -> JobRecord:
    return JobRecord(JobId(number), _CLIENT, None, _RECORD, payload, None, None, None, 0.0)


def drain(queue: JobQueue) -> list[int]:
    numbers: list[int] = []
    while (head := queue.head()) is not None:
        queue.pop()
        numbers.append(head.id)
    return numbers


def test_first_in_first_out_over_many_blocks() -> None:
    queue = JobQueue()
    for number in range(3 * BLOCK):
        queue.append(job(number))
    queue.push_front(job(-1))
    assert drain(queue) == list(range(-1, 3 * BLOCK))
    assert (queue.size, queue.stale) == (0, 0)


@given(st.lists(st.sampled_from(["append", "front", "end", "pop"]), max_size=200))
def test_what_ends_while_it_waits_is_passed_over(steps: list[str]) -> None:
    queue, model = JobQueue(), list[JobRecord]()
    for number, step in enumerate(steps):
        if step == "append":
            model.append(job(number))
            queue.append(model[-1])
        elif step == "front":
            model.insert(0, job(number))
            queue.push_front(model[0])
        elif step == "end" and model:
            model.pop(len(model) // 2).state = CANCELLED
            queue.discard()
        elif step == "pop" and model:
            assert queue.head() is model.pop(0)
            queue.pop()
        assert queue.size == len(model)
    assert drain(queue) == [waiting.id for waiting in model]


def test_the_places_of_jobs_that_ended_are_freed_though_nobody_takes() -> None:
    queue = JobQueue()
    keeper = job(0)
    queue.append(keeper)
    for number in range(1, 50 * BLOCK):
        ended = job(number)
        queue.append(ended)
        ended.state = CANCELLED
        queue.discard()
    assert sum(len(block) for block in queue.blocks) < 4 * BLOCK
    assert drain(queue) == [0]


def test_nothing_falls_due_early_and_little_late() -> None:
    wheel: Wheel[str] = Wheel()
    wheel.add(5.0, "exact")
    wheel.add(5.01, "rounded")
    assert wheel.next() == 5.0
    assert wheel.pop_due(4.99) == []
    assert wheel.pop_due(5.0) == ["exact"]
    assert wheel.next() == 5.0 + 1 / SLOTS_PER_SECOND
    assert wheel.pop_due(6.0) == ["rounded"]
    assert wheel.next() is None


def test_what_is_discarded_leaves_no_trace() -> None:
    wheel: Wheel[int] = Wheel()
    for number in range(20 * EMPTIED_SLOTS):
        wheel.add(float(number), number)
        wheel.discard(float(number), number)
    wheel.discard(3.0, 99)
    assert len(wheel._slots) <= 2 * EMPTIED_SLOTS
    assert wheel.next() is None


def test_small_jobs_stay_hot_in_a_long_queue_as_long_as_they_are_few_in_all() -> None:
    queues = Queues()
    queue, small, large = JobQueue(), [job(1)], [job(2, bytes(SMALL + 1))]
    assert not queues.full(queue, large)
    queue.size = HOT
    queues.added(_CLIENT, None, HOT)
    assert queues.full(queue, large)
    assert not queues.full(queue, small)
    queues.added(_CLIENT, "3.11", WARM - HOT)
    assert queues.full(queue, small), "those of all queues count"
    assert not queues.full(JobQueue(), large), "each has a head"
    queue.size = 0
    queue.extend_tail(JobId(3), 1)
    assert queues.full(queue, small), "none may go before those that are cold"
