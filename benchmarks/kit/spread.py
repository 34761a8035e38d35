"""Percentiles, of samples and of histograms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

Histogram = Sequence[Sequence[float]]
"""``(upper bound, how many)``, by rising bounds; as ``LagMeter.histogram`` has it."""


def percentile(samples: Sequence[float], part: float) -> float:
    """The smallest sample that at least this part of all is not above (nearest rank)."""
    if not samples:
        raise ValueError("nothing was measured")
    return sorted(samples)[max(0, math.ceil(part * len(samples)) - 1)]


def bound(histogram: Histogram, part: float) -> float:
    """The upper bound of the bucket in which this part of all is reached; 0 where there is none."""
    left: float = math.ceil(part * sum(count for _, count in histogram))
    for upper, count in histogram:
        left -= count
        if left <= 0:
            return upper
    return 0.0


def together(histograms: Iterable[Histogram]) -> list[tuple[float, float]]:
    """Several histograms as one."""
    counts: dict[float, float] = {}
    for histogram in histograms:
        for upper, count in histogram:
            counts[upper] = counts.get(upper, 0) + count
    return sorted(counts.items())


def beyond(histogram: Histogram) -> list[tuple[float, float]]:
    """``(bound, part of all that is above it)``: what a plot of a tail shows."""
    everything = sum(count for _, count in histogram)
    points: list[tuple[float, float]] = []
    left = everything
    for upper, count in histogram:
        points.append((upper, left / everything))
        left -= count
    return points


def quantiles(samples: Sequence[float], most: int = 200) -> list[tuple[float, float]]:
    """``(part, sample)`` at parts that come closer together towards 1, for a plot of a tail."""
    ordered = sorted(samples)
    if not ordered:
        return []
    finest = math.log10(max(10, len(ordered)))
    parts = [1 - 10 ** (-finest * n / most) for n in range(most + 1)]
    return [(part, ordered[min(len(ordered) - 1, int(part * len(ordered)))]) for part in parts]
