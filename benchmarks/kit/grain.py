"""METG: the job duration at which a given part of the machine's time is useful.

"Minimum effective task granularity", after the Task Bench of Slaughter and others: jobs of a known
amount of work, on a saturated machine, shorter and shorter, until only half of the time is work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, float]
"""``(seconds a job, efficiency)``, the efficiency from 0 to 1."""

Piece = tuple[int, float, float]
"""``(jobs, seconds that they took together, speed at that time)``."""

PIECE_JOBS = 2
"""Jobs a slot in a piece, at least."""

PIECE_SECONDS = 0.5
"""Work in a piece: a machine's speed is looked at again after that."""


def pieces(duration: float, jobs: int, slots: int) -> list[int]:
    """How many of these jobs to measure at once; those that are short, all of them."""
    size = max(
        PIECE_JOBS * slots, math.ceil(jobs / max(1, int(jobs * duration / slots / PIECE_SECONDS)))
    )
    return [min(size, jobs - start) for start in range(0, jobs, size)]


def point(loops: int, slots: int, measured: Sequence[Piece]) -> Point:
    """What jobs of so many loops came to, piece by piece; a job's duration is that at the mean
    speed."""
    jobs, elapsed = sum(piece[0] for piece in measured), sum(piece[1] for piece in measured)
    speed = sum(seconds * speed for _, seconds, speed in measured) / elapsed
    return loops * slots / speed, efficiency(jobs * loops, elapsed, speed)


def efficiency(loops: float, elapsed: float, speed: float) -> float:
    """The work that was done, as a part of what bare processes do in that time.

    ``speed``: the loops a second of as many bare processes as there are slots.
    """
    return loops / (elapsed * speed)


def metg(points: Sequence[Point], wanted: float = 0.5) -> float | None:
    """The shortest job, in seconds, from which on the efficiency stays at what is wanted or above.

    Between two points it is interpolated over the logarithm of the duration. None where even the
    longest job falls short; the shortest one measured, where all of them reach it.
    """
    ordered = sorted(points)
    if not ordered or ordered[-1][1] < wanted:
        return None
    above = ordered[-1]
    for point in reversed(ordered[:-1]):
        if point[1] < wanted:
            return _between(point, above, wanted)
        above = point
    return above[0]


def _between(below: Point, above: Point, wanted: float) -> float:
    low, high = math.log(below[0]), math.log(above[0])
    part = (wanted - below[1]) / (above[1] - below[1])
    return math.exp(low + part * (high - low))


def durations(shortest: float, longest: float, a_decade: int = 2) -> list[float]:
    """Durations at even distances on a logarithmic scale, both ends included."""
    steps = round(math.log10(longest / shortest) * a_decade)
    return [shortest * 10 ** (n / a_decade) for n in range(steps + 1)]
