"""A write or a sync that the disk refuses: the process stops, and the next one finds all of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import pytest_twisted
from ampacity.tests.faults.powercut.checking import integrity, read, verdict
from ampacity.tests.faults.powercut.plan import plan
from twisted.internet import reactor as _reactor

reactor: Any = _reactor

SEED = int(os.environ.get("POWERCUT_SEED", "1"))
STEPS = 100

FAULTS = [
    ("fdatasync", "EIO", "StoreBroken"),
    ("fsync", "EIO", "SyncFailed"),
    ("pwrite64", "EIO", "StoreBroken"),
    ("pwrite64", "ENOSPC", "StorageFull"),
    ("fdatasync", "ENOSPC", "StoreBroken"),
]


def moments(call: str) -> list[int]:
    """The first few calls are those of a new store; later ones are commits and checkpoints.

    They are counted thread by thread, and a store that is opened again has another one.
    """
    most = {"fsync": 16, "fdatasync": 85, "pwrite64": 900}[call]
    return Random(f"{SEED} {call}").sample(range(most // 4, most), 6)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("ending", ["", "closing"])
@pytest.mark.parametrize(("call", "errno", "named"), FAULTS)
async def test_a_call_fails(
    strace: Callable[..., Any], folder: Path, call: str, errno: str, named: str, ending: str
) -> None:
    for when in moments(call):
        root = folder / str(when)
        root.mkdir()
        fault = f"inject={call}:error={errno}:when={when}"
        options = ["-o", "/dev/null", "-e", f"trace={call}", "-e", fault]
        ran = strace(options, root, SEED, STEPS, "FULL", ending)
        await all_is_there(root, len(ran.said) - 1)
        if ran.said[-1] != "done":
            break
        # that was a checkpoint, which SQLite makes again, without a word, from the synced log
        assert call != "fsync"
    assert ran.code == 1, [*ran.said[-3:], ran.errors]
    assert ran.said[-1].startswith(f"{named}: "), ran.said[-1]


async def all_is_there(root: Path, acknowledged: int) -> None:
    """The next process finds what was acknowledged, in a sound file."""
    steps = list(plan(SEED, STEPS))
    reading = await read(reactor, root, range(1, max(max(s.after, default=0) for s in steps) + 1))
    assert verdict(reading, acknowledged, steps) == ""
    assert integrity(root) == "ok"
