"""A throw-away cluster: its folder, its processes, and the proxies between them.

Whatever ends is started again, until ``stop``: the coordinator on the same state, a worker under
the same name, a client with the journal of the one before.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import attrs
import psutil
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from .chaos_client import Brief
from .chaos_member import READY_SECONDS, Member
from .chaos_proxy import Proxy
from .chaos_strikes import COORDINATOR
from .failures import Exit

_MARK = "CHAOS_OF_AMPACITY"
_DEATHS = 5
"""So often a process may end by itself before the run is given up."""
_GENTLE_SECONDS = 20.0
_LEFT_SECONDS = 5.0


@attrs.frozen(kw_only=True)
class Shape:
    """What a cluster is made of."""

    workers: int
    slots: int
    clients: int
    durable: bool
    far: Sequence[str] = ()
    """Words before the command of the last worker, if it lives in another network namespace."""
    far_host: str = ""
    """Our address as that worker knows it."""
    clock: str = ""
    """The library that bends the wall clock of coordinator and workers."""


class Cluster:
    """The processes by name (``coordinator``, ``w1``, ``client 0``) and the links of their peers.

    ``deaths`` tells of processes that ended though nobody had struck them.
    """

    def __init__(self, reactor: Any, folder: Path, shape: Shape, chance: Random) -> None:
        self.reactor = reactor
        self.folder = folder
        self.shape = shape
        self.members: dict[str, Member] = {}
        self.links: dict[str, Proxy] = {}
        self.deaths: list[str] = []
        self.disk_full = False
        self.brief: Brief
        self.state = folder / "s"
        self.workers = [f"w{number}" for number in range(1, shape.workers + 1)]
        self.clients = [f"client {number}" for number in range(shape.clients)]
        self._chance = chance
        self._over = False
        self._keeping: list[Deferred[None]] = []
        self._mark = secrets.token_hex(8)
        self._port = free_port("127.0.0.1")
        self._far_port = free_port(shape.far_host) if shape.far_host else 0
        self._facts: dict[str, Any] = {}

    # -- beginning --------------------------------------------------------------------------------

    async def start(self, seed: int, jobs: int, seconds: float, retries: bool) -> None:
        """Coordinator, workers, and then the clients, which begin at once."""
        for name in ("logs", "notes"):
            self.folder.joinpath(name).mkdir()
        self._keep(COORDINATOR, self._start_coordinator)
        self._facts = await self._ready(COORDINATOR)
        for name in self.workers:
            self._open_link(name)
            self._write_line(name)
            self._keep(name, partial(self._start_worker, name))
        for name in self.workers:
            await self._ready(name)
        lines = [self._line(self._open_link(name), "client") for name in self.clients]
        self.brief = Brief(
            seed=seed,
            jobs=jobs,
            seconds=seconds,
            clients=len(lines),
            retries=retries,
            folder=str(self.folder / "notes"),
            lines=lines,
            began=time.monotonic(),
        )
        self._write("brief", json.dumps(attrs.asdict(self.brief)))
        for number, name in enumerate(self.clients):
            self._keep(name, partial(self._start_client, number))

    async def _ready(self, name: str) -> dict[str, Any]:
        ready = Deferred.fromCoroutine(self.members[name].ready())
        facts: dict[str, Any] = await ready.addTimeout(READY_SECONDS, self.reactor)
        return facts

    @property
    def client_line(self) -> str:
        """The way of clients past all proxies."""
        return str(self._facts["client"])

    def _open_link(self, name: str) -> int:
        proxy = self.links[name] = Proxy(self.reactor, "127.0.0.1", self._port)
        return proxy.listen()

    def _line(self, port: int, role: str, host: str = "127.0.0.1") -> str:
        token = self._facts["join" if role == "worker" else "client"].partition("#")[2]
        return f"{host}:{port}#{token}"

    def _write_line(self, name: str) -> None:
        port = self.links[name].port
        far = name == self.workers[-1] and self.shape.far
        line = self._line(port, "worker")
        if far:
            line = self._line(self._far_port, "worker", self.shape.far_host)
        self._write(f"{name}.line", line)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.touch(0o600)
        path.write_text(text)

    # -- the processes ----------------------------------------------------------------------------

    def _start_coordinator(self, life: int) -> Member:
        words = ["coordinator", "--listen", f"tcp:127.0.0.1:{self._port}", "--ready-fd", "3"]
        if self._far_port:
            words += ["--listen", f"tcp:{self.shape.far_host}:{self._far_port}"]
        environment = {
            "AMPACITY_STATE": str(self.state),
            "AMPACITY_ACCESS": str(self.folder / "a"),
        }
        return self._member(COORDINATOR, words, environment)

    def _start_worker(self, name: str, life: int) -> Member:
        line = str(self.folder / f"{name}.line")
        words = ["join", "--token-file", line, "--name", name, "--ready-fd", "3", "--grace", "5"]
        words += ["--slots", str(self.shape.slots)]
        before = self.shape.far if name == self.workers[-1] else ()
        return self._member(name, words, {"AMPACITY_STATE": str(self.folder / name / "s")}, before)

    def _start_client(self, number: int, life: int) -> Member:
        words = ["client", str(self.folder / "brief"), str(number), str(life)]
        return self._member(self.clients[number], words, {})

    def _member(
        self,
        name: str,
        words: Sequence[str],
        more: dict[str, str],
        before: Sequence[str] = (),
    ) -> Member:
        temporary = self.folder / name.replace(" ", "-") / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AMPACITY_")}
        environment |= {
            _MARK: self._mark,
            "TMPDIR": str(temporary),
            "AMPACITY_CONFIG": str(self.folder / "no-config.toml"),
            **more,
        }
        if self.shape.clock and not name.startswith("client"):
            environment |= self._bent_clock(name)
        log = self.folder / "logs" / name.replace(" ", "-")
        return Member.start(self.reactor, name, words, environment, log, before)

    def clock_file(self, name: str) -> Path:
        """What the wall clock of a process is shifted by, ``+3600``."""
        return self.folder / f"{name}.clock"

    def _bent_clock(self, name: str) -> dict[str, str]:
        file = self.clock_file(name)
        if not file.exists():
            file.write_text("+0")
        return {
            "LD_PRELOAD": self.shape.clock,
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    # -- keeping them alive -----------------------------------------------------------------------

    def _keep(self, name: str, start: Callable[[int], Member]) -> None:
        self.members[name] = start(0)
        self._keeping.append(Deferred.fromCoroutine(self._keep_on(name, start)))

    async def _keep_on(self, name: str, start: Callable[[int], Member]) -> None:
        life = 0
        while True:
            member = self.members[name]
            await member.ended()
            if self._over or (name in self.clients and member.exit_code == 0):
                return
            if not (member.struck or self._finds_no_room(name, member)):
                self.deaths.append(f"{name} ended by itself: {member.exit}")
                if len(self.deaths) >= _DEATHS:
                    return
            await deferLater(self.reactor, self._chance.uniform(0.05, 0.5))
            if not self._over:
                life += 1
                self.members[name] = start(life)

    def _finds_no_room(self, name: str, member: Member) -> bool:
        """A coordinator that starts on a full disk says so, and is started again."""
        return name == COORDINATOR and self.disk_full and member.exit_code == Exit.REFUSED

    @property
    def clients_done(self) -> bool:
        return all(self.members[name].exit_code == 0 for name in self.clients)

    def see_who_waits(self) -> None:
        """After the drain: a client that still waits has lost something."""
        for name in self.clients:
            if self.members[name].exit_code != 0:
                self.deaths.append(f"{name} has not seen the end of all its jobs")

    @property
    def broken(self) -> bool:
        """Processes end by themselves, again and again: there is nothing to wait for."""
        return len(self.deaths) >= _DEATHS

    # -- the end ----------------------------------------------------------------------------------

    async def stop(self, gently: bool) -> list[str]:
        """End every process; what outlived its parent is told of, and ended as well."""
        self._over = True
        for member in self.members.values():
            member.struck = True
            member.send(signal.SIGCONT)
        if gently:
            for name in self.clients:
                self.members[name].kill()
            await self._end(self.workers)
            await self._end([COORDINATOR])
        for member in self.members.values():
            member.kill()
        await gatherResults(self._keeping, consumeErrors=True)
        left = await self._left_behind()
        for proxy in self.links.values():
            await proxy.close()
        return left

    async def _end(self, names: Sequence[str]) -> None:
        ends = []
        for member in [self.members[name] for name in names if name in self.members]:
            member.send(signal.SIGTERM)
            ends.append(Deferred.fromCoroutine(member.ended()))
        all_ends: Deferred[Any] = gatherResults(ends, consumeErrors=True)
        with contextlib.suppress(TimeoutError):
            await all_ends.addTimeout(_GENTLE_SECONDS, self.reactor)
        for name in names:
            if name in self.members and self.members[name].alive:
                self.deaths.append(f"{name} did not end at SIGTERM within {_GENTLE_SECONDS:g} s")

    async def _left_behind(self) -> list[str]:
        until = time.monotonic() + _LEFT_SECONDS
        while (left := self._marked()) and time.monotonic() < until:
            await deferLater(self.reactor, 0.1)
        told = []
        for process in left:
            with contextlib.suppress(psutil.Error):
                told.append(f"process {process.pid}: {' '.join(process.cmdline())[:200]}")
                process.kill()
        return told

    def _marked(self) -> list[psutil.Process]:
        """Living processes of this run, however far down."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                mine = process.environ().get(_MARK) == self._mark
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
