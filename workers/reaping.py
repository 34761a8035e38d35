"""Noticing that children ended, where no signal tells.

Twisted learns of ended processes from SIGCHLD. A reactor that runs without signal handlers, in a
thread, does not get it, nor does one on uvloop, which takes Python's wake-up descriptor for itself.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from twisted.internet.process import reapAllProcesses
from twisted.internet.task import LoopingCall

_INTERVAL = 0.05
"""Seconds between looks; one costs a system call a process."""


class Reaper:
    """Looks after ended processes itself, if nobody tells the reactor."""

    def __init__(self, reactor: Any) -> None:
        self._looking = LoopingCall(reapAllProcesses)
        self._looking.clock = reactor

    def start(self) -> None:
        """Begin, on the running reactor, if it is necessary."""
        if not self._looking.running and not _told():
            self._looking.start(_INTERVAL, now=False)

    def stop(self) -> None:
        if self._looking.running:
            self._looking.stop()


def _told() -> bool:
    """Whether SIGCHLD reaches the reactor."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return signal.getsignal(signal.SIGCHLD) not in (signal.SIG_DFL, signal.SIG_IGN, None)
    own_signals = type(loop).__module__.partition(".")[0] == "uvloop"
    return not own_signals and signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL
