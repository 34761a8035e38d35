"""Our connections over real sockets, with a peer that has nothing but Twisted's own AMP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from ampacity.protocol import commands
from ampacity.protocol.connection import Connection
from ampacity.protocol.errors import Disconnected
from ampacity.protocol.responders import Responders
from ampacity.protocol.tls import ClientTLS, KeyPair, ServerTLS
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import clientFromString, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.protocols import amp
from twisted.protocols.tls import TLSMemoryBIOFactory

reactor: Any = installed
WAYS = ["unix", "tcp", "tls"]
SIZES = [0, 1, 700, 5_000, 70_000, 1_500_000]
"""Bytes: less than a socket takes at once, and more."""


class Echo(Responders):
    """Answers what it is asked, and knows what reports came."""

    def __init__(self) -> None:
        self.reports: list[bytes] = []

    @commands.Query.responder
    def query(self, question: str, details: Any) -> dict[str, Any]:
        return {"answer": [question, details]}

    @commands.GetChunk.responder
    def chunk(self, digest: bytes, offset: int, again: bool | None) -> dict[str, Any]:
        return {"data": digest[:1] * offset}

    @commands.Finished.responder
    def finished(self, reports: bytes) -> dict[str, Any]:
        self.reports.append(reports)
        return {}


class Server:
    """Listens one way; ``connections`` are ours, one for each peer."""

    def __init__(self, way: str, folder: Path) -> None:
        self.echo = Echo()
        self.connections: list[Connection] = []
        self._peers: list[amp.AMP] = []
        factory: Any = _Making(self._made)
        if way == "tls":
            factory = TLSMemoryBIOFactory(ServerTLS(KeyPair.make()), False, factory, reactor)
        if way == "unix":
            path = str(folder / "socket")
            self.port = reactor.listenUNIX(path, factory)
            self._where: Any = clientFromString(reactor, f"unix:{path}")
        else:
            self.port = reactor.listenTCP(0, factory, interface="127.0.0.1")
            number = self.port.getHost().port
            self._where = clientFromString(reactor, f"tcp:127.0.0.1:{number}")
        if way == "tls":
            self._where = wrapClientTLS(ClientTLS(), self._where)

    def _made(self) -> Connection:
        connection = Connection(self.echo, reactor)
        connection.admit(self.echo)
        self.connections.append(connection)
        return connection

    async def stock_peer(self, peer: amp.AMP | None = None) -> amp.AMP:
        peer = await connectProtocol(self._where, peer or amp.AMP())
        await peer.callRemote(commands.Query, question="here?", details=None)
        self._peers.append(peer)
        return peer

    async def stop(self) -> None:
        for peer in self._peers:
            if peer.transport is not None:
                peer.transport.loseConnection()
        await self.port.stopListening()
        while any(connection.lost is None for connection in self.connections):
            await deferLater(reactor, 0.01)


class _Making(Factory):
    noisy = False

    def __init__(self, make: Any) -> None:
        self._make = make

    def buildProtocol(self, addr: Any) -> Connection:
        made: Connection = self._make()
        return made


@pytest_twisted.async_yield_fixture(params=WAYS)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(request.param, tmp_path)
    yield server
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_every_question_of_a_stock_peer_is_answered(server: Server) -> None:
    peer = await server.stock_peer()
    for number in range(20):  # one at a time
        answer = await peer.callRemote(commands.Query, question="q", details=number)
        assert answer == {"answer": ["q", number]}
    many = [peer.callRemote(commands.Query, question="m", details=n) for n in range(300)]
    assert [found["answer"][1] for found in await gatherResults(many)] == [*range(300)]


@pytest_twisted.ensureDeferred
async def test_answers_of_all_sizes_keep_their_order(server: Server) -> None:
    peer = await server.stock_peer()
    came: list[int] = []
    asked: list[Deferred[Any]] = []
    for round_ in range(4):
        for size in SIZES:
            digest = b"%c" % (round_ + 65) * 32
            chunk = peer.callRemote(commands.GetChunk, digest=digest, offset=size)

            def check(found: dict[str, Any], size: int = size, digest: bytes = digest) -> None:
                assert found["data"] == digest[:1] * size
                came.append(size)

            asked.append(chunk.addCallback(check))
    await gatherResults(asked)
    assert came == SIZES * 4


@pytest_twisted.ensureDeferred
async def test_reports_are_acknowledged_soon(server: Server) -> None:
    peer = await server.stock_peer()
    for number in range(3):
        assert await peer.callRemote(commands.Finished, reports=b"%d" % number) == {}
    together = [peer.callRemote(commands.Finished, reports=b"x") for _ in range(50)]
    await gatherResults(together)
    assert len(server.echo.reports) == 53


@pytest_twisted.ensureDeferred
async def test_a_peer_that_goes_ends_what_was_asked(server: Server) -> None:
    peer = await server.stock_peer()
    [ours] = server.connections
    transport: Any = peer.transport
    transport.abortConnection()
    ended = []
    for _ in range(100):  # written to a socket that is gone, or about to be
        with ours._outlet.departures:
            asked = ours.call(commands.Query, question="?", details=None)
        ended.append(asked.addErrback(lambda failure: failure.trap(Disconnected)))
        await deferLater(reactor, 0)
    assert set(await gatherResults(ended)) == {Disconnected}


@pytest_twisted.ensureDeferred
async def test_what_was_asked_before_the_close_arrives(server: Server) -> None:

    class Listening(amp.AMP):
        heard: list[int]

        @commands.Delivered.responder
        def delivered(self, outcomes: bytes) -> dict[str, Any]:
            self.heard.append(len(outcomes))
            return {}

    short = [size for size in SIZES if size < 10_000]  # its answers would reset the connection
    peer = Listening()
    peer.heard = []
    await server.stock_peer(peer)
    [ours] = server.connections
    with ours._outlet.departures:
        for size in short:
            ours.call(commands.Delivered, outcomes=b"o" * size).addErrback(lambda _: None)
        ours.close()
    while ours.lost is None:
        await deferLater(reactor, 0.01)
    assert peer.heard == short
    assert ours.lost.check(ConnectionClosed)
