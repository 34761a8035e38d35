"""Work of a known length: rounds of an empty loop, and how many of them a second this machine does.

Waiting for a clock would be no work: a job that is kept from its processor would not notice.
"""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection
from types import TracebackType

from ..jobs import spin

LOOPS = 10_000
SECONDS = 0.15
START_SECONDS = 60


class Yardstick:
    """Bare processes that do nothing but the loop, all at once, whenever they are asked.

    A machine is faster at one moment than at another, a virtual one by half: whatever is set
    against this is set against what was measured right before it and right after it.
    """

    def __init__(self, processes: int) -> None:
        self._count = processes

    def __enter__(self) -> Yardstick:
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(self._count)]
        self._pipes = [ours for ours, _ in pipes]
        self._processes = [
            context.Process(target=_measure, args=(theirs,), daemon=True) for _, theirs in pipes
        ]
        for process in self._processes:
            process.start()
        self.rate(0.0)  # they are there
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.terminate()
            process.join()

    def rate(self, seconds: float = SECONDS) -> float:
        """Loops a second, of all of them together."""
        for pipe in self._pipes:
            pipe.send(seconds)
        return sum(self._answer(pipe) for pipe in self._pipes)

    def _answer(self, pipe: Connection) -> float:
        if not pipe.poll(START_SECONDS):
            raise TimeoutError("a bare process does not answer")
        return float(pipe.recv())


class Setting:
    """One measurement after the other, each between two looks at the yardstick."""

    def __init__(self, yardstick: Yardstick) -> None:
        self._yardstick = yardstick
        self._before = yardstick.rate()

    def speed(self) -> float:
        """Loops a second of all bare processes, during what was done since this was last asked."""
        after = self._yardstick.rate()
        speed, self._before = (self._before + after) / 2, after
        return speed


def loops_a_second(processes: int = 1) -> float:
    """What each of so many bare processes does while the others do the same."""
    with Yardstick(processes) as yardstick:
        yardstick.rate()
        return yardstick.rate() / processes


def _measure(pipe: Connection) -> None:
    try:
        while True:
            seconds = pipe.recv()
            loops, started = 0, time.perf_counter()
            while True:
                spin(LOOPS)
                loops += LOOPS
                elapsed = time.perf_counter() - started
                if elapsed >= seconds:
                    break
            pipe.send(loops / elapsed)
    except (EOFError, OSError):
        pass


def loops_for(seconds: float, a_second: float) -> int:
    return max(1, round(seconds * a_second))
