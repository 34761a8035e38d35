"""Clusters of real processes on loopback, over TLS with a token."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_twisted
from ampacity import Pool
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

PROGRAM = Path(__file__).with_name("cluster_process.py")
START_SECONDS = 30.0


def _reactor() -> Any:
    from twisted.internet import reactor

    return reactor


class Process(ProcessProtocol):
    """A process of the cluster: what it says on stdout, and its end."""

    def __init__(self, log: Path) -> None:
        self.ended: Deferred[None] = Deferred()
        self.over = False
        self._log = log
        self._said: list[dict[str, Any]] = []
        self._waiting: list[Deferred[dict[str, Any]]] = []
        self._rest = b""

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._said.append(json.loads(line))
        while self._said and self._waiting:
            self._waiting.pop(0).callback(self._said.pop(0))

    def errReceived(self, data: bytes) -> None:
        with self._log.open("ab") as file:
            file.write(data)

    def processEnded(self, reason: Failure) -> None:
        self.over = True
        for waiting in self._waiting:
            waiting.errback(RuntimeError(f"it ended: {self._log.read_text()}"))
        self._waiting.clear()
        self.ended.callback(None)

    def says(self) -> Deferred[dict[str, Any]]:
        """The next line."""
        said: Deferred[dict[str, Any]] = Deferred()
        if self._said:
            said.callback(self._said.pop(0))
        else:
            self._waiting.append(said)
        return said.addTimeout(START_SECONDS, _reactor())

    @property
    def pid(self) -> int:
        assert self.transport is not None
        assert self.transport.pid is not None, "it has ended"
        return int(self.transport.pid)

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def send(self, number: int) -> None:
        assert self.transport is not None
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess(number)

    async def end(self, number: int = signal.SIGTERM) -> None:
        if not self.over:
            self.send(number)
            await self.ended

    def children(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.pid).children(recursive=True)
        return []


class Cluster:
    """A coordinator and its workers, each with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[Process] = []
        self.coordinator: Process
        self.lines: dict[str, Any] = {}
        self.pools: list[Pool] = []
        self.before: list[str] = []
        """Words before every agent's command, as ``ip netns exec NAME``."""

    def _start(self, *words: str, before: list[str] | None = None) -> Process:
        command = [*(before or []), sys.executable, "-X", "faulthandler", str(PROGRAM), *words]
        Path(words[1]).mkdir(exist_ok=True)
        process = Process(Path(words[1]) / "log")
        _reactor().spawnProcess(process, command[0], command, env=dict(os.environ))
        self.processes.append(process)
        return process

    async def start(
        self, listen: str = "tcp:127.0.0.1:0", lease: float = 5.0, silence: float = 0.0
    ) -> None:
        """Start the coordinator, again after it has ended; with a new store then.

        It gives up who is silent for ``silence`` seconds, without it as long as it always does.
        """
        folder = str(self.folder / "c")
        self.coordinator = self._start("coordinator", folder, listen, str(lease), str(silence))
        self.lines = await self.coordinator.says()

    async def worker(
        self,
        name: str,
        slots: int = 1,
        line: str | None = None,
        before: list[str] | None = None,
        grace: float = 2.0,
    ) -> Process:
        """Start a worker; when this returns, it has joined or said why not."""
        words = (str(self.folder / name), line or self.lines["worker"], str(slots), str(grace))
        process = self._start("agent", *words, before=before)
        said = await process.says()
        assert said.get("name") == name, said
        return process

    def pool(self) -> Pool:
        pool = Pool.connect(self.lines["client"])
        self.pools.append(pool)
        return pool

    async def stop(self) -> None:
        for pool in self.pools:
            await pool.close()
        for process in self.processes:
            process.send(signal.SIGCONT)
            await process.end()


@pytest_twisted.async_yield_fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Not started yet: ``await cluster.start()``."""
    cluster = Cluster(tmp_path)
    yield cluster
    await cluster.stop()


@pytest.fixture
def until() -> Callable[..., Any]:
    """``await until(condition)``, which may be asynchronous; fails after a while."""

    async def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        end = _reactor().seconds() + seconds
        while True:
            value = condition()
            if hasattr(value, "__await__"):
                value = await value
            if value:
                return value
            assert _reactor().seconds() < end, "it does not come true"
            await deferLater(_reactor(), 0.05, lambda: None)

    return until
