"""Thousands of seeds of the virtual cluster: nothing is lost, whatever strikes.

``AMPACITY_SEEDS=20000 pytest tests/virtual`` runs more of them.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ampacity.tests.virtual.cluster import run_seed

SEEDS = int(os.environ.get("AMPACITY_SEEDS", "1200"))
SLICE = 25


@pytest.mark.parametrize("first", range(0, SEEDS, SLICE))
def test_nothing_is_lost(first: int, tmp_path: Path, logged_errors: Callable[..., object]) -> None:
    accounts = [run_seed(seed, tmp_path) for seed in range(first, min(first + SLICE, SEEDS))]
    failed = [account.told() for account in accounts if account.wrong]
    logged_errors()  # those of full and broken disks; any other is among the failures
    assert not failed, "\n" + "\n".join(failed)


def digest(folder: Path, seeds: range) -> str:
    """Of the traces of some seeds."""
    traces = [run_seed(seed, folder).trace.encode() for seed in seeds]
    return hashlib.sha256(b"\0".join(traces)).hexdigest()


def test_a_seed_is_the_same_run_again_and_in_another_process(
    tmp_path: Path, logged_errors: Callable[..., object]
) -> None:
    seeds = range(1, 6)
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); "
        "from test_virtual_cluster import digest; "
        f"print(digest(Path(sys.argv[1]), range({seeds.start}, {seeds.stop})))"
    )
    there = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        timeout=60,
    )
    assert digest(tmp_path, seeds) == digest(tmp_path, seeds) == there.stdout.strip()
    logged_errors()


def test_faults_are_felt(tmp_path: Path, logged_errors: Callable[..., object]) -> None:
    """The seeds are worth their time: attempts are lost, outcomes are late, jobs run again."""
    ends: set[str] = set()
    again = faults = 0
    for seed in range(1, 60):
        history = run_seed(seed, tmp_path).history
        for executions in history.executions.values():
            ends.update(execution.how for execution in executions)
            again += len(executions) > 1
        faults += sum("FAULT" in line for line in history.trace)
    logged_errors()
    assert {"succeeded", "failed", "lost", "killed", "cancelled", "timed out"} <= ends
    assert again > 20
    assert faults > 80
