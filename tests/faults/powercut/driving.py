"""A process that carries out a plan on a store, and says after each commit that it is done.

::

    python -m ampacity.tests.faults.powercut.driving FOLDER SEED STEPS FULL|NORMAL [OPTION...]

It writes the number of each commit to standard output, each in one ``write``; at the end ``done``,
or, when the store is broken, why. Options: ``careless``, values are not synced; ``closing``, a
broken store is closed; ``leaving``, a whole one is not.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from ampacity.coordinator import effects, sqlite_file
from ampacity.coordinator.records import (
    ClientRecord,
    CostRecord,
    JobRecord,
    SessionRecord,
    SpecRecord,
)
from ampacity.coordinator.sqlite import SqliteStore
from ampacity.coordinator.store import StoreBroken
from ampacity.protocol.blobs import BlobFolder
from ampacity.protocol.errors import StorageFull
from ampacity.protocol.ids import Attempt, ClientId, JobId
from ampacity.protocol.jobs import JobSpec, pack_spec
from ampacity.protocol.ports import Accepted
from ampacity.tests.faults.powercut.plan import CLIENT, SESSION, Step, key_of, plan, ref_of
from twisted.internet import task, threads

REOPEN = 90
"""After so many commits the store is closed and opened again."""

CHECKPOINT_PAGES = 50
"""Few, so that the log is copied to the file many times."""


class Records:
    """The records that a scheduler would have."""

    def __init__(self) -> None:
        self._client = ClientRecord(ClientId(CLIENT))
        self._session = SessionRecord(SESSION, self._client)
        self._specs = [self._spec(f"module{number}:function") for number in range(5)]
        self._jobs: dict[int, JobRecord] = {}

    def _spec(self, target: str) -> SpecRecord:
        spec = JobSpec(kind="import", target=target)
        return SpecRecord(pack_spec(spec), spec, CostRecord())

    def writes(self, step: Step) -> list[effects.Write]:
        """What a scheduler would have the store keep for this step."""
        writes: list[effects.Write] = [
            effects.JobsAdded([self._add(number, step) for number in step.added]),
            effects.JobsChanged([self._begin(number, step) for number in step.begun]),
            effects.JobsEnded([self._end(number, step) for number in step.ended]),
            effects.JobsTaken([JobId(number) for number in step.taken]),
            effects.JobsForgotten([JobId(number) for number in step.forgotten]),
        ]
        self._session.next_sequence = step.number + 1
        writes.append(effects.SessionSaved(self._session, step.number, Accepted(ids=((1, 1),))))
        if step.values:
            writes.append(effects.Hold([ref_of(value).digest for value in step.values]))
        return writes

    def _add(self, number: int, step: Step) -> JobRecord:
        spec = self._specs[number // 20 % len(self._specs)]
        payload = step.after[number].payload
        job = self._jobs[number] = JobRecord(
            JobId(number),
            self._client,
            SESSION,
            spec,
            payload,
            key_of(number),
            None,
            None,
            float(number),
        )
        return job

    def _begin(self, number: int, step: Step) -> JobRecord:
        job = self._jobs[number]
        job.attempt, job.began, job.state = Attempt(1, number), 1000.0, step.after[number].state
        return job

    def _end(self, number: int, step: Step) -> effects.Outcome:
        job, seen = self._jobs.pop(number), step.after[number]
        assert seen.outcome is not None
        job.state, job.ended, job.blobs = seen.state, 2000.0 + number, seen.blobs
        return effects.Outcome(job, *seen.outcome)


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


async def drive(
    reactor: Any, folder: str, seed: str, steps: str, synchronous: Any, *options: str
) -> None:
    """Carry out the plan. The folder is there, and the store's own is made in it."""
    sqlite_file.CHECKPOINT_PAGES = CHECKPOINT_PAGES  # type: ignore[misc]  # for this process
    defer = partial(threads.deferToThreadPool, reactor, reactor.getThreadPool())
    place = Path(folder) / "store"
    store = await SqliteStore.open(reactor, place, defer, synchronous=synchronous)
    blobs = BlobFolder(place / "values", defer, durable="careless" not in options)
    await blobs.start()
    records = Records()
    try:
        for step in plan(int(seed), int(steps)):
            for value in step.values:
                await blobs.write(ref_of(value), 0, value)
            await store.commit(records.writes(step))
            say(str(step.number))
            if step.number % REOPEN == 0:
                await store.close()
                store = await SqliteStore.open(reactor, place, defer, synchronous=synchronous)
        if "leaving" in options:
            say("done")
            os._exit(0)
        await store.close()
    except (StoreBroken, StorageFull, OSError) as error:
        say(f"{type(error).__name__}: {error}")
        if "closing" in options:
            await store.close()
        os._exit(1)  # as after a power cut: nothing more is written
    say("done")


if __name__ == "__main__":
    task.react(drive, sys.argv[1:])
