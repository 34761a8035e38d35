"""METG(50%): how short jobs may be until only half of the machine's time is work.

Jobs of a known amount of work, from 10 µs to 1 s, on as many slots as processors; the efficiency is
the work that was done, as a part of what as many bare processes do in the same time. These are
asked for it before and after each piece of jobs, since a machine is not always as fast. With all
on one machine, the client and the coordinator take their share of it, too: METG is then twice the
CPU that all processes together spend on a job.
"""

from __future__ import annotations

import statistics
from typing import Any

from .kit import fresh
from .kit.cluster import Cluster
from .kit.grain import durations, metg
from .kit.measured import Measured
from .kit.plan import Plan
from .kit.program import main, say
from .ways import UNIX

SHORTEST, LONGEST = 1e-5, 1.0
SECONDS = 0.7
"""Of work, for each duration, in one piece; long jobs in several."""
LEAST_JOBS = 4
"""Jobs a slot, however long they are."""
MOST_JOBS = 12_000
ROUNDS = 3


def measure(plan: Plan) -> Measured:
    measured = Measured("metg", "Efficiency against the duration of jobs, and METG(50%)")
    with Cluster(plan) as cluster:
        words = [cluster.address, plan.slots, *told(plan)]
        found = [fresh.run("programs.grains", *words) for _ in range(min(plan.times, ROUNDS))]
    note(measured, UNIX, found)
    return measured


def told(plan: Plan, longest: float = LONGEST, most: int = MOST_JOBS) -> list[str]:
    """The words for a program that measures durations: for each, how many jobs."""
    longest, seconds = (0.01, 0.1) if plan.quick else (longest, SECONDS)
    words = []
    for duration in durations(SHORTEST, longest):
        jobs = max(LEAST_JOBS * plan.slots, min(most, round(plan.slots * seconds / duration)))
        words.append(f"{duration}:{jobs}")
    return words


def note(measured: Measured, way: str, runs: list[dict[str, Any]]) -> None:
    """The curve of the medians over the runs, and the METG of each run; of none, nothing."""
    if not runs:
        return
    curves = [[(duration, part) for duration, part in run["grains"]] for run in runs]
    middle = [
        (
            statistics.median(duration for duration, _ in points),
            statistics.median(part for _, part in points),
        )
        for points in zip(*curves, strict=True)
    ]
    measured.curve("efficiency", way, ("a job, s", "efficiency"), middle)
    reached = [found for curve in curves if (found := metg(curve)) is not None]
    measured.add("METG(50%)", way, "s", reached)
    if not reached:
        measured.notes.append(f"{way} did not reach half of the machine's time.")
    for duration, part in middle:
        say(f"{way:32}{duration * 1e6:12,.0f} µs{part * 100:8.1f} %")


if __name__ == "__main__":
    main(measure, __doc__)
