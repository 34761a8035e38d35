"""Who is told of a job's end: one, or several, where two submissions with one key are one job."""

from __future__ import annotations

from ..protocol.ids import JobId
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


def each(entry: Entry | list[Entry] | None) -> list[Entry]:
    """All of a job's."""
    if isinstance(entry, list):
        return entry
    return [] if entry is None else [entry]
