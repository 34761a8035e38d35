"""Measurements in processes of their own: nobody inherits the caches of who came before."""

from __future__ import annotations

import json
import os
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
    try:
        done = subprocess.run(
            command(module, *words),
            capture_output=True,
            env={**os.environ, **environ},
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{module} took longer than {seconds:g} s") from None
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    if done.returncode or not lines:
        told = done.stderr.decode(errors="replace")[-3000:]
        raise Failed(f"{module} ended with {done.returncode}:\n{told}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer
