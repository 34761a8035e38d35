"""What the benchmarks run, in the processes of whatever system is measured.

Nothing of ampacity is imported here: the peers' processes import this module, too.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any, TypeVar

T = TypeVar("T")


def noop(number: int) -> int:
    """Nothing: what is left is the cost of the way there and back."""
    return number


def spin(loops: int) -> int:
    """A known amount of work, which takes the longer the less of a processor there is for it."""
    for _ in range(loops):
        pass
    return loops


def take(data: bytes) -> int:
    """A value on its way to a process."""
    return len(data)


def give(size: int) -> bytes:
    """A value on its way back."""
    return bytes(size)


def echo(value: T) -> T:
    """Both ways."""
    return value


def total(array: Any) -> float:
    """Reads every number of an array."""
    return float(array.sum())


def linger(seconds: float) -> int:
    """Says which process it was, and leaves the next job to another."""
    time.sleep(seconds)
    return os.getpid()


def digest(data: bytes) -> str:
    """C code that gives up the interpreter's lock while it works."""
    return hashlib.sha256(data).hexdigest()
