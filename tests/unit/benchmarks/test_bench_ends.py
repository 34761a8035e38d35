"""A run of benchmarks that is ended leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SECONDS = 60.0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_whatever_was_started_ends_with_it(tmp_path: Path, how: signal.Signals) -> None:
    words = ["-m", "ampacity.benchmarks", "--quick", "--only", "latency,bulk"]
    run = subprocess.Popen(
        [sys.executable, *words],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=_heard,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        family = _with_a_cluster(psutil.Process(run.pid))
        run.send_signal(how)
        assert run.wait(SECONDS) != 0
        _, alive = psutil.wait_procs(family, timeout=SECONDS)
        assert not alive, [process.cmdline() for process in alive]
        assert not list(tmp_path.glob("amp-*"))
    finally:
        run.kill()
        run.wait()


def _heard() -> None:
    """A shell has what it runs in the background ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _with_a_cluster(run: psutil.Process) -> list[psutil.Process]:
    """Its descendants, as soon as a coordinator and an agent are among them."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        family = run.children(recursive=True)
        if sum("gauged" in " ".join(_words(process)) for process in family) >= 2:
            return family
        time.sleep(0.1)  # it tells nobody when they are up
    raise AssertionError("no cluster came up")


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
