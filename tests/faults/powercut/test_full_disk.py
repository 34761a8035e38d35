"""A store on a disk that is really full: nothing that was acknowledged goes, and it goes on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity.coordinator.diskroom import DiskRoom
from ampacity.coordinator.sqlite import SqliteStore
from ampacity.protocol.errors import StorageFull
from ampacity.tests.faults.powercut.checking import integrity, read, verdict
from ampacity.tests.faults.powercut.driving import Records
from ampacity.tests.faults.powercut.plan import plan
from twisted.internet import reactor as _reactor
from twisted.internet import threads

reactor: Any = _reactor

KIB, MIB = 1024, 1024 * 1024


def fill(folder: Path) -> Path:
    """Write until nothing more goes in."""
    path = folder / "filling"
    with path.open("wb", buffering=0) as file:
        for size in (64 * KIB, 4 * KIB, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return path


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("ballast", [True, False])
async def test_a_full_disk(sized_tmpfs: Callable[[int], Path], ballast: bool) -> None:
    root = sized_tmpfs(8 * MIB)
    (root / "store").mkdir()
    defer = partial(threads.deferToThreadPool, reactor, reactor.getThreadPool())
    size = MIB if ballast else 0
    room = DiskRoom(reactor, root / "store", defer, ballast=size, floor=MIB, interval=60.0)
    await room.start()
    store = await SqliteStore.open(reactor, root / "store", defer, room=room)
    records = Records()
    steps = list(plan(1, 400))
    done, waiting = 0, []

    async def commit_until_full() -> None:
        nonlocal done, waiting
        for step in steps[done:]:
            waiting += records.writes(step)
            try:
                await store.commit(waiting)
            except StorageFull:
                done = step.number - 1
                return
            waiting = []
        raise AssertionError("the disk was never full")

    for step in steps[:20]:
        await store.commit(records.writes(step))
    done = 20
    filling = fill(root)
    await commit_until_full()
    assert room.reason, "submissions are refused"
    assert store.room() == room.reason
    if ballast:  # what could not be stored can be now, and some more
        await store.commit(waiting)
        done, waiting = done + 1, []
        await commit_until_full()
    filling.unlink()
    await room.look()
    assert room.reason == ""
    await store.commit(waiting)
    await store.close()
    await room.stop()
    reading = await read(reactor, root, range(1, 1000), values=False)
    assert verdict(reading, done + 1, steps) == ""
    assert integrity(root) == "ok"
