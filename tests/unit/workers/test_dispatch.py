"""Which child gets what: the free ones at once, the busy ones ahead, nobody at another's cost."""

from __future__ import annotations

from typing import Any

import pytest
from ampacity.protocol.ids import Attempt, ClientId, JobId
from ampacity.protocol.jobs import JobSpec, pack_spec
from ampacity.workers.dispatch import Dispatch
from ampacity.workers.errands import TELL_AFTER, TELL_LATE
from ampacity.workers.held import Held, Plan
from ampacity.workers.waiting import AHEAD_LONGEST, Durations, Waiting
from twisted.internet.task import Clock

SPEC = pack_spec(JobSpec(kind="import", target="m:f"))


class Child:
    """One that runs for ever what it was given."""

    def __init__(self) -> None:
        self.context: Any = None
        self.given: list[list[Held]] = []
        self.patience: list[float] = []
        self.expected = 0.0

    @property
    def batches(self) -> list[list[int]]:
        return [[held.job for held in batch] for batch in self.given]

    @property
    def free(self) -> bool:
        return not self.given

    @property
    def busy(self) -> bool:
        return bool(self.given)

    @property
    def has_room(self) -> bool:
        return len(self.given) == 1

    @property
    def laden(self) -> bool:
        return len(self._jobs()) > 1

    def _jobs(self) -> list[Held]:
        return [held for batch in self.given for held in batch]

    def behind(self) -> tuple[int, Held]:
        """The first one runs."""
        return len(self._jobs()) - 1, self._jobs()[-1]

    def take_back(self) -> list[Held]:
        first, *taken = self._jobs()
        self.given = [[first], []]
        return taken

    def give(self, batch: list[Held], patience: float) -> None:
        self.context = batch[0].plan.context
        self.given.append(list(batch))
        self.patience.append(patience)


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
    scene.children_[0].expected = 1.1 * AHEAD_LONGEST
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
    scene.children_[0].given.clear()
    scene.clock.advance(1)
    scene.dispatch.now()
    assert scene.replaced == [scene.children_[0]]


def given_ahead(scene: Scene, seconds: float) -> None:
    """The first child has two jobs behind its first, the second has one job."""
    scene.durations.note(scene.plans["a"].key, seconds, 1000)
    scene.add("a", 1, 4)
    first, second = scene.children_
    first.give(scene.waiting.take(scene.plans["a"].context, 2)[0], 0.0)
    first.give(scene.waiting.take(scene.plans["a"].context, 2)[0], 0.0)
    second.give(scene.waiting.take(scene.plans["a"].context, 1)[0], 0.0)


def test_a_child_that_comes_to_be_free_shares_what_another_was_given_ahead(scene: Scene) -> None:
    given_ahead(scene, 0.001)
    assert scene.given() == [[[1, 2], [3]], [[4]]]
    scene.children_[1].given.clear()
    scene.dispatch.now()
    assert scene.given() == [[[1], []], [[2], [3]]]
    scene.clock.advance(0)
    assert scene.given() == [[[1], []], [[2], [3]]]


def test_what_takes_no_time_stays_where_it_is(scene: Scene) -> None:
    given_ahead(scene, 0.0)
    scene.children_[1].given.clear()
    scene.dispatch.now()
    scene.clock.advance(1)
    assert scene.given() == [[[1, 2], [3]], []]


def test_nothing_is_shared_with_a_child_of_another_client(scene: Scene) -> None:
    given_ahead(scene, 0.001)
    scene.children_[1].given.clear()
    scene.children_[1].context = scene.plans["b"].context
    scene.dispatch.now()
    assert scene.given() == [[[1, 2], [3]], []]


def test_nothing_is_shared_while_nothing_may_be_given(scene: Scene) -> None:
    given_ahead(scene, 0.001)
    scene.children_[1].given.clear()
    scene.dispatch.hold_back(True)
    scene.dispatch.now()
    assert scene.given() == [[[1, 2], [3]], []]


def test_reports_wait_for_each_other_while_enough_waits(scene: Scene) -> None:
    context = scene.plans["a"].context
    assert scene.dispatch.pause(context) == 0.0
    scene.durations.note(scene.plans["a"].key, 0.001, 1000)
    scene.add("a", 1, 25)
    scene.dispatch.now()
    scene.clock.advance(0)
    assert len(scene.waiting) == 25 - 4 * 4
    assert [child.patience for child in scene.children_] == [[TELL_LATE] * 2] * 2
    assert scene.dispatch.pause(context) == TELL_LATE
    assert scene.dispatch.pause(scene.plans["b"].context) == 0.0
    for child in scene.children_:
        del child.given[0]
    scene.dispatch.now()
    assert len(scene.waiting) == 9 - 2 * 4
    assert [child.patience[-1] for child in scene.children_] == [TELL_LATE, TELL_AFTER]
    assert scene.dispatch.pause(context) == 0.0
