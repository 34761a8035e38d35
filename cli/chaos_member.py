"""One process of a chaos run, as its engine sees it: started, ready, struck, ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

READY_SECONDS = 60.0
_READY_FD = 3


class Member(ProcessProtocol):
    """A process that was started; ``struck`` says that its end is the engine's doing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid = 0
        self.struck = False
        self.exit: str | None = None
        """How it ended, for people; None while it lives."""
        self.exit_code: int | None = None
        self.facts: dict[str, Any] | None = None
        """What it said when it was ready."""
        self._said = b""
        self._waiting: list[Deferred[None]] = []

    # -- beginning --------------------------------------------------------------------------------

    @classmethod
    def start(
        cls,
        reactor: Any,
        name: str,
        words: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        before: Sequence[str] = (),
    ) -> Member:
        """Start it; its output goes to the log. ``before``: words in front of the command, as
        ``ip netns exec NAME``."""
        member = cls(name)
        command = [*before, sys.executable, "-m", "ampacity.cli.chaos_process"]
        command += [str(os.getpid()), *words]
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        streams = {0: nothing, 1: out, 2: out, _READY_FD: "r"}
        try:
            transport = reactor.spawnProcess(
                member, command[0], command, dict(environment), str(log.parent), childFDs=streams
            )
        finally:
            os.close(out)
            os.close(nothing)
        member.pid = transport.pid
        return member

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._said += data
        if self.facts is None and self._said.endswith(b"\n"):
            self.facts = json.loads(self._said)
            self._wake()

    def processEnded(self, reason: Failure) -> None:
        value: Any = reason.value
        self.exit_code = value.exitCode
        self.exit = f"signal {value.signal}" if value.signal else f"exit code {value.exitCode}"
        self._wake()

    # -- waiting ----------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return self.exit is None

    async def ready(self) -> dict[str, Any]:
        """What it says when it is ready.

        Raises:
            RuntimeError: it ended before.
        """
        while self.facts is None and self.alive:
            await self._change()
        if self.facts is None:
            raise RuntimeError(f"{self.name} ended before it was ready: {self.exit}")
        return self.facts

    async def ended(self) -> None:
        while self.alive:
            await self._change()

    def _change(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiter)
        return waiter

    def _forget(self, waiter: Deferred[None]) -> None:
        with contextlib.suppress(ValueError):
            self._waiting.remove(waiter)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    # -- striking ---------------------------------------------------------------------------------

    def send(self, number: int) -> None:
        if self.alive and self.transport is not None:
            with contextlib.suppress(ProcessExitedAlready):
                self.transport.signalProcess(number)

    def kill(self) -> None:
        self.struck = True
        self.send(signal.SIGKILL)

    def children(self) -> list[psutil.Process]:
        """The processes behind its slots."""
        with contextlib.suppress(psutil.Error):
            found = psutil.Process(self.pid).children()
            return sorted((one for one in found if _runs_jobs(one)), key=lambda one: one.pid)
        return []


def _runs_jobs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return any("ampacity.workers.child" in word for word in process.cmdline())
    return False
