"""A sweep goes on in steps, each a call of its own; it begins anew after a minute, and stops."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ampacity.coordinator.sweeping import INTERVAL, Sweeping
from twisted.internet.task import Clock


def played(at_a_step: Callable[[], None]) -> tuple[Clock, Sweeping]:
    """One of three steps."""

    def sweep() -> Iterator[None]:
        for _ in range(3):
            at_a_step()
            yield

    clock = Clock()
    sweeping = Sweeping(clock, sweep)
    sweeping.start()
    return clock, sweeping


def test_every_step_every_minute() -> None:
    steps: list[float] = []
    clock, sweeping = played(lambda: steps.append(clock.seconds()))
    clock.pump([INTERVAL, INTERVAL])
    assert steps == [INTERVAL] * 3 + [INTERVAL * 2] * 3
    sweeping.stop()
    assert not clock.getDelayedCalls()


def test_it_stops_halfway() -> None:
    steps: list[float] = []

    def step() -> None:
        steps.append(clock.seconds())
        clock.callLater(0, sweeping.stop)

    clock, sweeping = played(step)
    clock.pump([INTERVAL, INTERVAL])
    assert steps == [INTERVAL]
    assert not clock.getDelayedCalls()
