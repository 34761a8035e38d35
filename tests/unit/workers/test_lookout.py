"""Time-outs of jobs, and what a pause of the agent does to them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ampacity.workers.lookout import TICK, Lookout
from twisted.internet.task import Clock


class Child:
    """A child that has run one job since a moment."""

    busy = True

    def __init__(self, held: Any, mark: float) -> None:
        self.held = held
        self.mark = mark

    def look(self) -> None:
        pass

    def running_since(self) -> tuple[Any, float]:
        return self.held, self.mark

    def unbegun(self) -> int:
        return 0

    def sample_memory(self) -> None:
        pass


class Scene:
    """One slot whose job may take 10 seconds."""

    def __init__(self) -> None:
        self.clock = Clock()
        spec = SimpleNamespace(timeout=10.0)
        held: Any = SimpleNamespace(
            plan=SimpleNamespace(spec=spec), announced=True, why=None, job=1, attempt=(1, 1)
        )
        self.child = Child(held, 0.0)
        crew: Any = SimpleNamespace(children=lambda: iter([self.child]))
        self.timed_out: list[float] = []
        self.lookout = Lookout(self.clock, 1, crew, [], self, self.clock.seconds)  # type: ignore[arg-type]
        self.lookout.see_to_it()

    def time_out(self, held: Any) -> None:
        held.why = "timed out"
        self.timed_out.append(self.clock.seconds())

    def run(self, seconds: float) -> None:
        self.clock.pump([TICK] * round(seconds / TICK))


@pytest.fixture
def scene() -> Any:
    scene = Scene()
    yield scene
    scene.lookout.stop()


def test_a_job_that_runs_for_too_long_is_timed_out(scene: Scene) -> None:
    scene.run(9.9)
    assert scene.timed_out == []
    scene.run(0.2)
    assert len(scene.timed_out) == 1


def test_a_pause_of_the_agent_is_no_time_of_a_job(scene: Scene) -> None:
    scene.run(4)
    scene.clock.advance(3600)
    scene.run(5.8)
    assert scene.timed_out == []
    scene.run(0.3)
    assert len(scene.timed_out) == 1


def test_a_pause_before_a_job_gives_it_nothing(scene: Scene) -> None:
    scene.run(4)
    scene.clock.advance(3600)
    scene.run(0.1)
    scene.child.mark = scene.clock.seconds()
    scene.run(10.1)
    assert len(scene.timed_out) == 1


def test_a_machine_that_is_slow_is_no_pause(scene: Scene) -> None:
    scene.clock.pump([0.9] * 12)
    assert len(scene.timed_out) == 1
