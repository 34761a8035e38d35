"""How long a thread of our own processes waits for the interpreter's lock."""

from __future__ import annotations

import sys
from typing import Final

INTERVAL: Final = 0.0005
"""Seconds.

The interpreter's own 5 ms are what a store's writer waits before and after each of its system calls
while the reactor is busy, and the reactor while the writer is: a commit of half a millisecond takes
ten then. With 0.2 ms, the changes back and forth cost a tenth of the throughput.
"""


def switch_often() -> None:
    """From now on in this process. For processes of our own, as with the garbage collector."""
    sys.setswitchinterval(INTERVAL)
