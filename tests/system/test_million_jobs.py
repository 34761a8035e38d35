"""A queue of a million jobs does not live in memory, and is soon there again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("million_program.py")
MILLION = 1_000_000
MEMORY = 64 << 20
OPEN_SECONDS = 10.0


def run(folder: Path, jobs: int) -> dict[str, Any]:
    command = [sys.executable, str(PROGRAM), str(folder), str(jobs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    print(facts)
    return facts


@pytest.mark.alone
def test_a_million_queued_jobs_cost_little_memory_and_are_soon_served_again(tmp_path: Path) -> None:
    queued = run(tmp_path / "store", MILLION)
    assert queued["queued"] >= MILLION
    assert queued["many"] - queued["few"] <= MEMORY
    assert queued["page"] == 500

    again = run(tmp_path / "store", 1000)
    assert again["open"] <= OPEN_SECONDS
    assert again["queued"] >= queued["queued"] + 1000
    assert again["many"] - queued["few"] <= MEMORY
