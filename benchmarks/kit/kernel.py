"""Work of a known length: rounds of an empty loop, and how many of them a second this machine does.

Waiting for a clock would be no work: a job that is kept from its processor would not notice.
"""

from __future__ import annotations

import subprocess
import sys
import time

from ..jobs import spin
from . import fresh

LOOPS = 10_000
SECONDS = 0.15
WARM_UP = 0.15
"""Seconds before that: a processor that was idle does a tenth less for as long."""


class Yardstick:
    """Bare processes that do nothing but the loop, all at once, whenever they are asked.

    Each is a session of its own, as each child of an agent is: Linux shares out a busy processor
    by sessions, and two processes of one get the half.

    A machine is faster at one moment than at another, a virtual one by half: whatever is set
    against this is set against what was measured right before it and right after it.
    """

    def __init__(self, processes: int) -> None:
        self._count = processes

    def __enter__(self) -> Yardstick:
        pipe, words = subprocess.PIPE, fresh.command("kit.kernel")
        self._processes = [
            subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
            for _ in range(self._count)
        ]
        self.rate(0.0)  # they are there
        return self

    def __exit__(self, *_why: object) -> None:
        for process in self._processes:
            process.communicate()  # its input ends, and so does it

    def rate(self, seconds: float = SECONDS) -> float:
        """Loops a second, of all of them together."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        return sum(
            float(process.stdout.readline()) for process in self._processes if process.stdout
        )


def _answer(process: subprocess.Popen[str]) -> float:
    assert process.stdout is not None
    return float(process.stdout.readline())


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


def loops_for(seconds: float, a_second: float) -> int:
    return max(1, round(seconds * a_second))


def _rate(seconds: float) -> float:
    """Loops a second, when this has been at it for a while."""
    started = time.perf_counter()
    while seconds and time.perf_counter() - started < WARM_UP:
        spin(LOOPS)
    loops, elapsed, started = 0, 0.0, time.perf_counter()
    while not loops or elapsed < seconds:
        spin(LOOPS)
        loops += LOOPS
        elapsed = time.perf_counter() - started
    return loops / elapsed


def main() -> None:
    """A bare process: for each line with seconds, one with the loops a second."""
    for line in sys.stdin:
        print(_rate(float(line)), flush=True)


if __name__ == "__main__":
    main()
