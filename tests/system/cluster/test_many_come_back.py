"""Hundreds of workers whose coordinator is killed: all come back to the next one at once."""

from __future__ import annotations

import json
import math
import os
import pickle
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
import pytest_twisted
from ampacity import Pool
from ampacity.cli.connection import Link
from ampacity.protocol import commands
from ampacity.protocol.addresses import Address, parse_address
from ampacity.protocol.dialing import WAITING_SECONDS, Greeted, dial
from ampacity.protocol.errors import AmpacityError
from ampacity.protocol.jobs import Assignment, unpack_assignments
from ampacity.protocol.outcomes import Ending, Outcome, Report, pack_outcome, pack_reports
from ampacity.protocol.ports import WorkerInfo
from ampacity.protocol.tokens import Token
from ampacity.workers.backoff import Backoff
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ClientFactory, ProcessProtocol, Protocol
from twisted.internet.task import deferLater
from twisted.protocols import amp

reactor: Any = _reactor

WORKERS = 500
SECONDS = 30.0
VALUE = 7


def ended(connection: Any) -> Deferred[None]:
    """Fires when a connection is gone."""
    gone: Deferred[None] = Deferred()
    connection.on_lost(lambda _: gone.callback(None))
    return gone


class Worker(amp.CommandLocator):
    """An agent, as far as a coordinator can tell: it holds what it is given, and comes back."""

    def __init__(self, line: str, number: int) -> None:
        self.address: Address = parse_address(line)
        self.held: dict[int, Assignment] = {}
        self.given: list[int] = []
        self.dropped: list[Any] = []
        self.joined = 0
        self._token: Token | None = None
        self._info = WorkerInfo(
            name=f"w{number}",
            incarnation=os.urandom(16),
            slots=1,
            python="3.11",
            host="here",
            software="0.3.0",
        )
        self._connection: Any = None
        self._backoff = Backoff(Random(number))
        self._staying: Deferred[None] | None = None

    def start(self) -> None:
        self._staying = Deferred.fromCoroutine(self._stay())
        self._staying.addErrback(lambda failure: failure.trap(CancelledError))

    async def _stay(self) -> None:
        while True:
            try:
                greeted = await self._join()
            except AmpacityError:
                await deferLater(reactor, self._backoff.next())
                continue
            await ended(greeted.connection)
            await deferLater(reactor, self._backoff.next())

    async def _join(self) -> Greeted:
        token = self._token or self.address.token
        greeted = await dial(reactor, self.address, "worker", token, self, waiting=WAITING_SECONDS)
        self._token = greeted.credential or self._token
        held = [[one.job, *one.attempt] for one in self.held.values()]
        self._connection = greeted.connection
        answer = await greeted.connection.call(
            commands.Join, info=attrs.asdict(self._info), held=held
        )
        self.dropped += answer["drop"]
        self.joined += 1
        return greeted

    @commands.Assign.responder
    def assign(self, jobs: bytes) -> dict[str, Any]:
        given = unpack_assignments(jobs)
        for one in given:
            self.held[one.job] = one
            self.given.append(one.job)
        began = [[one.job, *one.attempt, time.time()] for one in given]
        self._connection.call(commands.Begun, attempts=began).addErrback(lambda _: None)
        return {}

    @commands.Retract.responder
    def retract(self, attempts: Any) -> dict[str, Any]:
        return {}  # all have begun

    async def finish(self) -> None:
        body = pack_outcome(Outcome(value=pickle.dumps(VALUE, 5)))
        reports = [
            Report(one.job, one.attempt, Ending.SUCCEEDED, time.time(), 1.0, body)
            for one in self.held.values()
        ]
        await self._connection.call(commands.Finished, reports=pack_reports(reports))

    async def stop(self) -> None:
        if self._staying is not None:
            self._staying.cancel()
        if self._connection is not None and self._connection.lost is None:
            gone = ended(self._connection)
            self._connection.abort()
            await gone


class Silent(Protocol):
    """Connects, says nothing, and connects again when it is cut off."""

    factory: Crowd

    def connectionMade(self) -> None:
        self.factory.there.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.there.discard(self)
        self.factory.cut_off += 1


class Crowd(ClientFactory):
    """So many silent ones."""

    protocol = Silent  # type: ignore[assignment]  # Twisted's own type knows factories only
    noisy = False

    def __init__(self, port: int) -> None:
        self.there: set[Silent] = set()
        self.cut_off = 0
        self.over = False
        self._port = port

    def come(self, count: int) -> None:
        for _ in range(count):
            reactor.connectTCP("127.0.0.1", self._port, self)

    def clientConnectionLost(self, connector: Any, reason: Any) -> None:
        if not self.over:
            connector.connect()

    def leave(self) -> None:
        self.over = True
        for one in list(self.there):
            one.transport.abortConnection()  # type: ignore[union-attr]  # connected


class Coordinator(ProcessProtocol):
    """``ampacity coordinator``, which keeps all on disk."""

    def __init__(self, folder: Path, listen: str) -> None:
        self.ended: Deferred[None] = Deferred()
        self._ready = folder / "ready"
        self._ready.unlink(missing_ok=True)
        self._log = folder / "log"
        words = [
            *("-m", "ampacity.cli.entry", "coordinator", "--listen", listen),
            *("--state", f"{folder}/state", "--access", f"{folder}/access"),
            *("--ready-file", f"{self._ready}"),
        ]
        reactor.spawnProcess(self, sys.executable, [sys.executable, *words], env=dict(os.environ))

    def errReceived(self, data: bytes) -> None:
        with self._log.open("ab") as file:
            file.write(data)

    def processEnded(self, reason: Any) -> None:
        self.ended.callback(None)

    async def ready(self) -> dict[str, Any]:
        until = reactor.seconds() + 60.0
        while not self._ready.exists():
            assert not self.ended.called, self._log.read_text()
            assert reactor.seconds() < until
            await deferLater(reactor, 0.02)
        facts: dict[str, Any] = json.loads(self._ready.read_text())
        return facts

    async def end(self, number: int) -> None:
        if not self.ended.called:
            try:
                self.transport.signalProcess(number)  # type: ignore[union-attr]  # it runs
            except ProcessExitedAlready:
                return
            await self.ended


@pytest.fixture
def many_files() -> Iterator[None]:
    """Descriptors for both ends of a thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, 4096)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("needs 4,096 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("silent", [0, 500])
@pytest_twisted.ensureDeferred
async def test_all_are_back_with_what_they_hold(
    tmp_path: Path, silent: int, until: Any, many_files: None
) -> None:
    first = Coordinator(tmp_path, "tcp:127.0.0.1:0")
    facts = await first.ready()
    workers = [Worker(facts["join"], number) for number in range(WORKERS)]
    port = int(facts["address"].rpartition(":")[2])
    crowd = Crowd(port)
    pool = Pool.connect(facts["client"])
    second: Coordinator | None = None
    try:
        for some in (workers[at : at + 50] for at in range(0, WORKERS, 50)):
            for worker in some:
                worker.start()
            await until(lambda some=some: all(worker.joined for worker in some), 60.0)
        jobs = [pool.submit(math.factorial, 3) for _ in range(WORKERS)]
        await until(lambda: all(worker.held for worker in workers), 60.0)
        await deferLater(reactor, 1.0)  # and that they have begun is on disk
        await first.end(signal.SIGKILL)
        second = Coordinator(tmp_path, f"tcp:127.0.0.1:{port}")
        await second.ready()
        began = reactor.seconds()
        crowd.come(silent)
        await until(lambda: all(worker.joined == 2 for worker in workers), SECONDS)
        took = reactor.seconds() - began
        link = Link(pool._engine.session())
        status = await link.query("status")
        print(f"{silent} silent ({crowd.cut_off} cut off): {took:.1f} s, {status['lag']}")
        assert status["workers"] == status["running"] == WORKERS
        await gatherResults([Deferred.fromCoroutine(worker.finish()) for worker in workers])
        assert [await job for job in jobs] == [VALUE] * WORKERS
        told = [await link.query("job", job=job.id) for job in jobs[::25]]
        assert {(one["attempts"], one["losses"]) for one in told} == {(1, 0)}
        assert all(len(worker.given) == 1 and not worker.dropped for worker in workers)
    finally:
        crowd.leave()
        await pool.close()
        for worker in workers:
            await worker.stop()
        for coordinator in (first, second):
            if coordinator is not None:
                await coordinator.end(signal.SIGTERM)
