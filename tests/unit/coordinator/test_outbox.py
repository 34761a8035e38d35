"""What is on its way to one connection is bounded in frames and bytes, and in what is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ampacity.coordinator.kept import Stored
from ampacity.coordinator.outbox import BYTES_IN_FLIGHT, FIRST_READ, Outbox, Recent
from ampacity.protocol.ids import JobId
from ampacity.protocol.limits import FRAME_JOBS, FRAMES_IN_FLIGHT
from ampacity.protocol.outcomes import Delivery, Ending
from twisted.internet.defer import Deferred, succeed


class Port:
    """A client that takes its time."""

    def __init__(self) -> None:
        self.frames: list[tuple[Sequence[Delivery], Deferred[None]]] = []

    def delivered(self, outcomes: Sequence[Delivery]) -> Deferred[None]:
        self.frames.append((outcomes, Deferred()))
        return self.frames[-1][1]

    def output(self, *_: Any) -> Any:
        raise AssertionError

    @property
    def bytes(self) -> int:
        return sum(len(one.body) for outcomes, _ in self.frames for one in outcomes)


class Bodies:
    """A store on disk with bodies of one size."""

    durable = True

    def __init__(self, size: int) -> None:
        self.body = bytes(size)
        self.reads: list[int] = []

    def outcomes(self, jobs: Sequence[JobId]) -> Deferred[list[Stored | None]]:
        self.reads.append(len(jobs))
        return succeed([Stored(Ending.SUCCEEDED, self.body, b"") for _ in jobs])


def outbox(size: int, jobs: int) -> tuple[Port, Bodies, list[JobId]]:
    port, store, taken = Port(), Bodies(size), list[JobId]()
    made: Any = store
    box = Outbox(port, made, Recent(), taken.extend, lambda jobs: jobs)
    box.add([JobId(number) for number in range(jobs)])
    box.flush()
    return port, store, taken


def test_large_outcomes_are_read_and_sent_a_few_at_a_time() -> None:
    port, store, taken = outbox(4 << 20, 100)
    assert port.bytes <= BYTES_IN_FLIGHT + (4 << 20)
    assert store.reads == [FIRST_READ, FIRST_READ // 2]
    while port.frames:
        _, answer = port.frames.pop(0)
        answer.callback(None)
        assert port.bytes <= BYTES_IN_FLIGHT + (4 << 20)
    assert taken == list(range(100))
    assert max(store.reads[3:]) == 1


def test_small_outcomes_fill_their_frames() -> None:
    port, store, taken = outbox(10, 2000)
    assert store.reads[:5] == [8, 16, 32, FRAME_JOBS, FRAME_JOBS]
    assert len(port.frames) == FRAMES_IN_FLIGHT
    while port.frames:
        port.frames.pop(0)[1].callback(None)
    assert taken == list(range(2000))
