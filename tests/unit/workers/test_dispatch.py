"""Which child gets what: the free ones at once, the busy ones ahead, nobody at another's cost."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.protocol.ids import Attempt, ClientId, JobId
from ampacity.protocol.jobs import JobSpec, pack_spec
from ampacity.workers.dispatch import Dispatch
from ampacity.workers.held import Held, Plan
from ampacity.workers.waiting import BATCH_SECONDS, Durations, Waiting
from twisted.internet.task import Clock

SPEC = pack_spec(JobSpec(kind="import", target="m:f"))


class Child:
    """One that runs for ever what it was given."""

    def __init__(self) -> None:
        self.context: Any = None
        self.batches: list[list[int]] = []
        self.expected = 0.0

    @property
    def free(self) -> bool:
        return not self.batches

    @property
    def has_room(self) -> bool:
        return len(self.batches) == 1

    def give(self, batch: list[Held]) -> None:
        self.context = batch[0].plan.context
        self.batches.append([held.job for held in batch])


class Scene:
    """Children, and jobs of two clients that take no time."""

    def __init__(self, children: int) -> None:
        self.children_ = [Child() for _ in range(children)]
        self.replaced: list[Child] = []
        self.clock = Clock()
        self.plans = {client: Plan(ClientId(client), SPEC, "here") for client in "ab"}
        self.durations = Durations()
        self.durations.note(self.plans["a"].key, 0.0)
        self.waiting = Waiting(self.durations)
        crew: Any = self
        self.dispatch = Dispatch(self.clock, crew, self.waiting, lambda batch: None)

    def children(self) -> Any:
        return iter(self.children_)

    def coming(self) -> int:
        return len(self.replaced)

    def replace(self, child: Child) -> None:
        self.replaced.append(child)

    def add(self, client: str, first: int, count: int) -> None:
        plan = self.plans[client]
        held = [Held(JobId(first + n), Attempt(1, 1), plan, b"x") for n in range(count)]
        self.waiting.add(held, self.clock.seconds())

    def given(self) -> list[list[list[int]]]:
        return [child.batches for child in self.children_]


@pytest.fixture
def scene() -> Any:
    scene = Scene(2)
    yield scene
    scene.dispatch.stop()


def test_the_first_of_a_turn_is_given_at_once_and_the_rest_at_its_end(scene: Scene) -> None:
    scene.add("a", 1, 2)
    scene.dispatch.now()
    assert scene.given() == [[[1]], [[2]]]
    for number in (3, 5):
        scene.add("a", number, 2)
        scene.dispatch.now()
    assert scene.given() == [[[1]], [[2]]]
    scene.clock.advance(0)
    assert scene.given() == [[[1], [3, 4]], [[2], [5, 6]]]


def test_nobody_has_more_than_one_batch_ahead(scene: Scene) -> None:
    for _ in range(3):
        scene.add("a", 1, 4)
        scene.dispatch.now()
        scene.clock.advance(0)
    assert [len(batches) for batches in scene.given()] == [2, 2]
    assert len(scene.waiting) == 4


def test_a_child_with_a_long_batch_has_nothing_ahead(scene: Scene) -> None:
    scene.add("a", 1, 2)
    scene.dispatch.now()
    scene.children_[0].expected = BATCH_SECONDS
    scene.add("a", 3, 2)
    scene.clock.advance(0)
    assert scene.given() == [[[1]], [[2], [3, 4]]]


def test_nothing_is_given_ahead_while_another_client_has_no_child(scene: Scene) -> None:
    scene.add("a", 1, 2)
    scene.dispatch.now()
    scene.clock.advance(0)
    scene.add("b", 3, 1)
    scene.add("a", 4, 2)
    scene.dispatch.now()
    assert scene.given() == [[[1]], [[2]]]
    scene.children_[0].batches.clear()
    scene.clock.advance(1)
    scene.dispatch.now()
    assert scene.replaced == [scene.children_[0]]
