"""Measurements in processes of their own: nobody inherits the caches of who came before."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import Any

PACKAGE = __package__.removesuffix(".kit")


class Failed(Exception):
    """A program of a measurement did not do what it should."""


def command(module: str, *words: object) -> list[str]:
    """The words that start ``ampacity.benchmarks.<module>`` with this interpreter."""
    return [sys.executable, "-m", f"{PACKAGE}.{module}", *map(str, words)]


def run(module: str, *words: object, seconds: float = 300, **environ: str) -> dict[str, Any]:
    """Run a program and return the JSON object that is the last line of what it prints.

    Raises:
        Failed: it ended with another code than 0, took longer than ``seconds``, or printed none.
    """
    process = subprocess.Popen(
        command(module, *words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environ},
        start_new_session=True,
    )
    try:
        printed, told = process.communicate(timeout=seconds)
    except BaseException as e:
        _end(process)
        if isinstance(e, subprocess.TimeoutExpired):
            raise Failed(f"{module} took longer than {seconds:g} s") from None
        raise
    lines = printed.decode(errors="replace").strip().splitlines()
    if process.returncode or not lines:
        errors = told.decode(errors="replace")[-3000:]
        raise Failed(f"{module} ended with {process.returncode}:\n{errors}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _end(process: subprocess.Popen[bytes]) -> None:
    """It, and all that it has started and that has not left its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
