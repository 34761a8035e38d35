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
    chance = Random(f"{SEED} {call}")
    most = {"fsync": 16, "fdatasync": 90, "pwrite64": 1200}[call]
    return [chance.randrange(most // 4, most) for _ in range(2)]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("call", "errno", "named", "when", "ending"),
    [
        (*fault, when, ending)
        for fault in FAULTS
        for when, ending in zip(moments(fault[0]), ("", "closing"), strict=True)
    ],
)
async def test_a_call_fails(
    strace: Callable[..., Any],
    tmp_path: Path,
    call: str,
    errno: str,
    named: str,
    when: int,
    ending: str,
) -> None:
    root = tmp_path / "state"
    root.mkdir()
    fault = f"inject={call}:error={errno}:when={when}"
    options = ["-o", "/dev/null", "-e", f"trace={call}", "-e", fault]
    ran = strace(options, root, SEED, STEPS, "FULL", ending)
    assert ran.code == 1, [*ran.said[-3:], ran.errors]
    assert ran.said[-1].startswith(f"{named}: "), ran.said[-1]
    acknowledged = len(ran.said) - 1
    assert acknowledged < STEPS

    steps = list(plan(SEED, STEPS))
    reading = await read(reactor, root, range(1, max(max(s.after, default=0) for s in steps) + 1))
    assert verdict(reading, acknowledged, steps) == ""
    assert integrity(root) == "ok"
