"""What is found in a folder when a store is opened there, held against a plan."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ampacity.coordinator.kept import Backlog, ByKeys, KeptJob, Listing, Oldest, Stored
from ampacity.coordinator.sqlite import DATABASE, SqliteStore
from ampacity.coordinator.sqlite_file import Synchronous
from ampacity.coordinator.transitions import ENDED
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.ids import ClientId, JobId
from ampacity.protocol.jobs import BlobRef
from ampacity.protocol.outcomes import Ending, unpack_outcome
from ampacity.tests.faults.powercut.plan import CLIENT, SESSION, Seen, State, Step
from twisted.internet import threads


class Reading(NamedTuple):
    """All that a store and its values hold."""

    commits: int
    """By the sequence number of the one session."""
    jobs: State
    damaged: dict[int, str]
    """Jobs, outcomes or values of these jobs are damaged, as they say themselves."""
    astray: dict[int, str]
    """Sound jobs that are not found by what they have to be found by."""
    mended: str | None
    """What was wrong with the indexes, and was made anew."""


async def read(
    reactor: Any,
    folder: Path,
    ids: Sequence[int],
    values: bool = True,
    synchronous: Synchronous = "FULL",
) -> Reading:
    """Open a store, read everything, and close it. Without ``values``, those are left alone.

    Raises:
        StoreRefused: it cannot be opened.
        StoreBroken: it cannot be read.
    """
    defer = partial(threads.deferToThreadPool, reactor, reactor.getThreadPool())
    store = await SqliteStore.open(reactor, folder / "store", defer, synchronous=synchronous)
    try:
        blobs = BlobFolder(folder / "store" / "values", defer)
        if values:
            await blobs.start()
        sessions = store.remembered.sessions
        numbers = [JobId(number) for number in ids]
        kept = {job.id: job for job in await store.jobs(numbers)}
        stored = dict(zip(numbers, await store.outcomes(numbers), strict=True))
        jobs: State = {}
        damaged: dict[int, str] = {}
        for number, job in kept.items():
            end = stored[number]
            why = job.damage or _damage_of_end(end)
            if values and not why:
                why = await _damage_of_values(blobs, job)
            if why:
                damaged[number] = why
            else:
                jobs[number] = _seen(job, end)
        astray = await _astray(store, [kept[JobId(number)] for number in jobs])
    finally:
        await store.close()
    commits = sessions[0].next_sequence - 1 if sessions else 0
    return Reading(commits, jobs, damaged, astray, store.usage()["mended"])


async def _astray(store: SqliteStore, jobs: Sequence[KeptJob]) -> dict[int, str]:
    """Which of these jobs would never be run, delivered, forgotten, listed, or known again."""
    every = len(jobs) + 1000
    remembered, client = store.remembered, ClientId(CLIENT)
    waiting = {n for run in remembered.queued for n in range(run.first, run.first + run.jobs)}
    waiting |= {job.id for job in remembered.live}
    owed = set((await store.read(Backlog(SESSION, JobId(0), every))).ids)
    old = set((await store.read(Oldest(True, every))).ids)
    old |= set((await store.read(Oldest(False, every))).ids)
    listed = set((await store.page(Listing(client, every))).ids)
    keys = [job.key for job in jobs if job.key is not None]
    keyed = set((await store.read(ByKeys(client, keys))).ids)
    astray: dict[int, str] = {}
    for job in jobs:
        ended = job.state >= ENDED
        if not ended and job.id not in waiting:
            astray[job.id] = "it would never be run"
        elif ended and not job.taken and job.id not in owed:
            astray[job.id] = "nobody would be told its outcome"
        elif ended and job.id not in old:
            astray[job.id] = "it would never be forgotten"
        elif job.id not in listed:
            astray[job.id] = "it is not listed"
        elif job.key is not None and job.id not in keyed:
            astray[job.id] = "its key is not known"
    return astray


def _damage_of_end(stored: Stored | None) -> str:
    """No job of a plan crashes: such an end stands for one that cannot be read."""
    if stored is None or stored.ending is not Ending.CRASHED:
        return ""
    evidence = unpack_outcome(stored.body).evidence
    return "" if evidence is None else evidence.reason


async def _damage_of_values(blobs: BlobFolder, job: KeptJob) -> str:
    """Why a value of this job cannot be used."""
    refs = [*job.blobs, job.payload] if isinstance(job.payload, BlobRef) else job.blobs
    for ref in refs:
        try:
            await blobs.path(ref)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return ""


def _seen(job: KeptJob, stored: Stored | None) -> Seen:
    outcome = None if stored is None else (stored.body, stored.log)
    return Seen(job.state, job.payload, job.taken, outcome, job.blobs)


def verdict(reading: Reading, acknowledged: int, steps: Sequence[Step]) -> str:
    """What is wrong with what was found; nothing: it is the state after every commit that was
    acknowledged, and at most the one that was under way."""
    found = reading.commits
    if found not in (acknowledged, acknowledged + 1):
        return f"{acknowledged} commits were acknowledged, {found} are there"
    if reading.damaged or reading.mended:
        return f"damaged: {reading.damaged}, mended: {reading.mended}"
    if reading.astray:
        return f"astray: {reading.astray}"
    wanted = steps[found - 1].after if found else {}
    wrong = [n for n in {*wanted, *reading.jobs} if wanted.get(n) != reading.jobs.get(n)]
    return f"jobs {sorted(wrong)} are not as commit {found} left them" if wrong else ""


def integrity(folder: Path) -> str:
    """What SQLite itself finds in the file."""
    with closing(sqlite3.connect(folder / "store" / DATABASE)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
