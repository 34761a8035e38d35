"""Work of a known length: rounds of an empty loop, and how many of them a second this machine does.

Waiting for a clock would be no work: a job that is kept from its processor would not notice.
"""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from typing import Any

from ..jobs import spin

LOOPS = 200_000
REPEATS = 40


def loops_a_second(processes: int = 1) -> float:
    """What each of so many bare processes does while the others do the same."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(processes), context.SimpleQueue()
    started = [
        context.Process(target=_time, args=(barrier, answers.put), daemon=True)
        for _ in range(processes)
    ]
    for process in started:
        process.start()
    rates = [float(answers.get()) for _ in started]
    for process in started:
        process.join()
    return sum(rates) / len(rates)


def _time(barrier: Barrier, tell: Any) -> None:
    spin(LOOPS)
    barrier.wait(60)
    started = time.perf_counter()
    for _ in range(REPEATS):
        spin(LOOPS)
    tell(LOOPS * REPEATS / (time.perf_counter() - started))


def loops_for(seconds: float, a_second: float) -> int:
    return max(1, round(seconds * a_second))
