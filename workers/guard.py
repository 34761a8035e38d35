"""The guard: a tiny process that outlives the agent by a moment, to kill what the agent started.

A killed agent can clear up nothing, and a busy child does not notice. The guard waits on a pipe
that only the agent holds open; when that closes, it kills the process groups that it was told of.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

_TEXT = """\
import os, signal, sys
os.setsid()
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
groups = set()
for line in open(0, "rb", 0):
    (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
for group in groups:
    for kill in (os.killpg, os.kill):
        try:
            kill(group, signal.SIGKILL)
        except OSError:
            pass
"""


class Guard(ProcessProtocol):  # type: ignore[misc,unused-ignore]
    """Told of process groups while they live. Started anew if it is killed."""

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._groups: set[int] = set()
        self._running = False
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        """Start the process; without one, Linux still ends the children with the agent."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        words = [sys.executable, "-I", "-S", "-c", _TEXT]
        try:
            self._reactor.spawnProcess(
                self, sys.executable, words, env={}, childFDs={0: "w", 1: nowhere, 2: nowhere}
            )
        except OSError as e:
            self._log.warn("no guard process: {error}", error=e)
        finally:
            os.close(nowhere)

    def connectionMade(self) -> None:
        self._running = True
        for group in self._groups:
            self._tell("+", group)

    def add(self, group: int) -> None:
        """This group shall not outlive the agent."""
        self._groups.add(group)
        if not self._running and self._stopped is None:
            self.start()
        else:
            self._tell("+", group)

    def remove(self, group: int) -> None:
        """This group has ended."""
        self._groups.discard(group)
        self._tell("-", group)

    def _tell(self, sign: str, group: int) -> None:
        if self._running and self.transport is not None:
            self.transport.write(f"{sign}{group}\n".encode())

    def stop(self) -> Deferred[None]:
        """Fires when the process has ended."""
        self._stopped = Deferred()
        if self._running and self.transport is not None:
            self.transport.closeStdin()
        else:
            self._stopped.callback(None)
        return self._stopped

    def processEnded(self, reason: Failure) -> None:
        self._running = False
        if self._stopped is not None:
            self._stopped.callback(None)
