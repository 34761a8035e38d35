"""Who is told of a job's end: one, or several, where two submissions with one key are one job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ..protocol.ids import JobId
from ..protocol.ports import Accepted
from .frames import Entry

Entries = dict[JobId, Entry | list[Entry]]
"""By job; nearly all of them have one, and no list."""


def enter(entries: Entries, job: JobId, entry: Entry) -> None:
    """One more is told."""
    known = entries.get(job)
    if known is None:
        entries[job] = entry
    elif isinstance(known, list):
        known.append(entry)
    else:
        entries[job] = [known, entry]


def enter_all(entries: Entries, jobs: Sequence[JobId], told: Sequence[Entry]) -> None:
    """A frame was accepted: its entries have these ids."""
    for entry, job in zip(told, jobs, strict=True):
        entry.frame = None
        if job in entries:
            enter(entries, job, entry)
        else:
            entries[job] = entry


def accepted_ids(accepted: Accepted) -> list[JobId]:
    """The ids that a frame was given, in its order."""
    ids: list[int] = []
    for first, count in accepted.ids:
        ids.extend(range(first, first + count))
    return cast("list[JobId]", ids)  # a call for each would be most of the work


def each(entry: Entry | list[Entry] | None) -> list[Entry]:
    """All of a job's."""
    if isinstance(entry, list):
        return entry
    return [] if entry is None else [entry]
