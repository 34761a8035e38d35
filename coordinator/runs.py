"""Many ids in little room: runs ``[first, count]``, in the order of their ids."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable


def add_run(runs: list[list[int]], first: int, count: int) -> None:
    """Add ids to a list of runs, as part of the last one where they follow it."""
    if runs and runs[-1][0] + runs[-1][1] == first:
        runs[-1][1] += count
    else:
        runs.append([first, count])


def merge_runs(runs: list[list[int]], ids: Iterable[int]) -> None:
    """Add ids, some of which may be there, to ascending runs that stay ascending."""
    merged: list[list[int]] = []
    new: list[list[int]] = []
    for number in sorted(ids):
        add_run(new, number, 1)
    for first, count in sorted([*runs, *new]):
        if merged and first <= merged[-1][0] + merged[-1][1]:
            end = max(merged[-1][0] + merged[-1][1], first + count)
            merged[-1][1] = end - merged[-1][0]
        else:
            merged.append([first, count])
    runs[:] = merged


def include(runs: list[list[int]], number: int) -> None:
    """Add one id to ascending runs that stay ascending; quick where it is the last one's next."""
    if runs and runs[-1][0] + runs[-1][1] == number:
        runs[-1][1] += 1
        return
    place = bisect_right(runs, number, key=_first_of)
    before = runs[place - 1] if place else [0, 0]
    if place and number <= before[0] + before[1]:
        before[1] = max(before[1], number + 1 - before[0])
    else:
        before = [number, 1]
        runs.insert(place, before)
        place += 1
    if place < len(runs) and before[0] + before[1] == runs[place][0]:
        before[1] += runs[place][1]
        del runs[place]


def in_runs(runs: list[list[int]], number: int) -> bool:
    """Whether an id is in ascending runs."""
    place = bisect_right(runs, number, key=_first_of) - 1
    return place >= 0 and number < runs[place][0] + runs[place][1]


def _first_of(run: list[int]) -> int:
    return run[0]
