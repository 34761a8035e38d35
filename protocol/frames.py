"""Many records in portions of one frame each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from .limits import FRAME_BYTES, FRAME_JOBS

_Record = TypeVar("_Record")


def batches(
    records: Sequence[_Record], size: Callable[[_Record], int], most: int = FRAME_BYTES
) -> Iterator[Sequence[_Record]]:
    """Records in portions of ``FRAME_JOBS``, or of ``FRAME_BYTES`` and the rest of one record.

    ``size`` gives the bytes that a record takes, about; ``most`` is what all of them take at most:
    where that is little, as it is nearly always, they need not be looked at one by one.
    """
    if most < FRAME_BYTES:
        for start in range(0, len(records), FRAME_JOBS):
            yield records[start : start + FRAME_JOBS]
        return
    batch: list[_Record] = []
    total = 0
    for record in records:
        batch.append(record)
        total += size(record)
        if total >= FRAME_BYTES or len(batch) >= FRAME_JOBS:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch
