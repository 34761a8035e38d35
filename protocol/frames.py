"""Many records in portions of one frame each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from .limits import FRAME_BYTES, FRAME_JOBS, LARGE_FRAME_JOBS

_Record = TypeVar("_Record")


def jobs_in_a_frame(told: int | None) -> int:
    """Jobs in a frame for a peer that has said in the greeting how many it takes, or has not."""
    return min(max(told or 0, FRAME_JOBS), LARGE_FRAME_JOBS)


def batches(
    records: Sequence[_Record],
    size: Callable[[_Record], int],
    most: int = FRAME_BYTES,
    jobs: int = FRAME_JOBS,
) -> Iterator[Sequence[_Record]]:
    """Records in portions of so many ``jobs``, or of ``FRAME_BYTES`` and the rest of one record.

    ``size`` gives the bytes that a record takes, about; ``most`` is what all of them take at most:
    where that is little, as it is nearly always, they need not be looked at one by one.
    """
    if most < FRAME_BYTES:
        for start in range(0, len(records), jobs):
            yield records[start : start + jobs]
        return
    batch: list[_Record] = []
    total = 0
    for record in records:
        batch.append(record)
        total += size(record)
        if total >= FRAME_BYTES or len(batch) >= jobs:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch
