"""A pool on every reactor that Linux has, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = Path(__file__).parent / "reactor_program.py"


@pytest.mark.parametrize("reactor", ["default", "select", "poll", "asyncio", "uvloop"])
def test_a_pool_works_on(reactor: str):
    if reactor == "uvloop":
        pytest.importorskip("uvloop")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(_PROGRAM), reactor],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("done\n")
