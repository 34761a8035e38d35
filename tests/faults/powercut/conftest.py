"""Processes whose calls are traced, or made to fail."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from ampacity.tests.faults.powercut.trace import CALLS

DRIVER = "ampacity.tests.faults.powercut.driving"
LONGEST = 8 << 20
"""Bytes of one write that are kept of a trace."""


class Ran(NamedTuple):
    """A process that has ended."""

    code: int
    said: list[str]
    errors: str


@functools.cache
def cannot_trace() -> str:
    """Why no process can be traced here; or nothing."""
    if shutil.which("strace") is None:
        return "needs strace"
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return "needs the right to trace processes" if tried.returncode else ""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: only the trace says what a disk would have kept."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory, prefix="ampacity-") as name:
        yield Path(name)


@pytest.fixture
def strace() -> Callable[..., Ran]:
    """Runs the driver with its words under strace, with strace's own options before them."""
    if why := cannot_trace():
        pytest.skip(why)

    def run(options: list[str], *words: object) -> Ran:
        command = [sys.executable, "-m", DRIVER, *map(str, words)]
        ran = subprocess.run(
            ["strace", "-f", "--seccomp-bpf", *options, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        return Ran(ran.returncode, ran.stdout.splitlines(), ran.stderr)

    return run


@pytest.fixture
def traced(strace: Callable[..., Ran], folder: Path) -> Callable[..., list[str]]:
    """The trace of a driver that has carried out its plan, or has met with a ``fault``."""

    def trace(*words: object, fault: str | None = None) -> list[str]:
        output = folder / "trace"
        options = ["-y", "-xx", "-s", str(LONGEST), "-o", str(output), "-e", f"trace={CALLS}"]
        if fault is not None:
            options += ["-e", fault]
        ran = strace(options, *words)
        assert fault or ran.said[-1:] == ["done"], ran.errors
        return output.read_text().splitlines()

    return trace
