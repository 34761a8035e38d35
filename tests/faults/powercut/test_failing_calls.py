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
    """The first few calls are those of a new store; later ones are commits and checkpoints."""
    chance = Random(f"{SEED} {call}")
    most = {"fsync": 24, "fdatasync": 120, "pwrite64": 1500}[call]
    return [chance.randrange(most // 4, most) for _ in range(2)]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("call", "errno", "named", "when"),
    [(*fault, when) for fault in FAULTS for when in moments(fault[0])],
)
async def test_a_call_fails(
    strace: Callable[..., Any], tmp_path: Path, call: str, errno: str, named: str, when: int
) -> None:
    root = tmp_path / "state"
    root.mkdir()
    fault = f"inject={call}:error={errno}:when={when}"
    options = ["-o", "/dev/null", "-e", f"trace={call}", "-e", fault]
    ran = strace(options, root, SEED, STEPS, "FULL")
    assert ran.code == 1, [*ran.said[-3:], ran.errors]
    assert ran.said[-1].startswith(f"{named}: "), ran.said[-1]
    acknowledged = len(ran.said) - 1
    assert acknowledged < STEPS

    steps = list(plan(SEED, STEPS))
    reading = await read(reactor, root, range(1, max(max(s.after, default=0) for s in steps) + 1))
    assert verdict(reading, acknowledged, steps) == ""
    assert integrity(root) == "ok"
