"""The bad network of chaos runs: what each weather does to the bytes of a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import pytest
import pytest_twisted
from ampacity.cli.chaos_proxy import DELAY, Proxy
from twisted.internet import reactor as _reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

reactor: Any = _reactor
HERE = "127.0.0.1"


class Peer(Protocol):
    """One end of a connection: what came, and whether it is gone."""

    transport: Any

    def __init__(self) -> None:
        self.came = b""
        self.pieces = 0
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.came += data
        self.pieces += 1

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


@attrs.define
class Path:
    """A connection through a proxy, with its two ends."""

    proxy: Proxy
    near: Peer
    far: Peer


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    end = reactor.seconds() + seconds
    while not condition():
        assert reactor.seconds() < end, "it does not come true"
        await deferLater(reactor, 0.01)


@pytest_twisted.async_yield_fixture
async def path() -> AsyncIterator[Path]:
    peers: list[Peer] = []

    def build(_: object) -> Peer:
        peers.append(Peer())
        return peers[-1]

    factory = Factory()
    factory.buildProtocol = build  # type: ignore[method-assign,assignment]
    port = reactor.listenTCP(0, factory, interface=HERE)
    proxy = Proxy(reactor, HERE, port.getHost().port)
    near = await connectProtocol(TCP4ClientEndpoint(reactor, HERE, proxy.listen()), Peer())
    await until(lambda: peers and len(proxy.ends) == 2)
    yield Path(proxy, near, peers[0])
    await proxy.close()
    for peer in (near, *peers):
        if peer.lost is None:
            peer.transport.abortConnection()
    await until(lambda: near.lost and all(peer.lost for peer in peers))
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_fair_weather(path: Path) -> None:
    data = bytes(3_000_000)
    path.near.transport.write(data)
    path.far.transport.write(b"hello")
    await until(lambda: path.far.came == data and path.near.came == b"hello")
    path.near.transport.loseConnection()
    await until(lambda: path.far.lost)


@pytest_twisted.ensureDeferred
async def test_silence_of_one_direction_holds_the_bytes_back(path: Path) -> None:
    path.proxy.up.silent = True
    path.near.transport.write(b"ask")
    path.far.transport.write(b"tell")
    await until(lambda: path.near.came == b"tell")
    assert path.far.came == b""
    path.proxy.clear()
    await until(lambda: path.far.came == b"ask")


@pytest_twisted.ensureDeferred
async def test_who_leaves_in_silence_is_missed_after_it(path: Path) -> None:
    path.proxy.up.silent = True
    path.near.transport.write(b"ask")
    path.near.transport.loseConnection()
    await until(lambda: path.near.lost)
    assert path.far.lost is None
    path.proxy.clear()
    await until(lambda: path.far.lost and path.far.came == b"ask")


@pytest.mark.parametrize("weather", ["sliced", "rate", "delay"])
@pytest_twisted.ensureDeferred
async def test_bytes_come_late_and_whole(path: Path, weather: str) -> None:
    setattr(path.proxy.up, weather, {"sliced": True, "rate": 20_000, "delay": DELAY}[weather])
    data = bytes(range(250)) * 20
    before = reactor.seconds()
    path.near.transport.write(data)
    await until(lambda: path.far.came == data)
    if weather != "sliced":
        assert reactor.seconds() - before > 0.15
    if weather != "delay":
        assert path.far.pieces > 10


@pytest_twisted.ensureDeferred
async def test_a_slow_link_makes_its_sender_wait(path: Path) -> None:
    path.proxy.up.rate = 1000
    path.near.transport.write(bytes(30_000_000))
    await deferLater(reactor, 0.2)
    assert sum(lane._size for lane in path.proxy.lanes) < 8_000_000


@pytest_twisted.ensureDeferred
async def test_a_reset_tells_both(path: Path) -> None:
    path.proxy.reset()
    await until(lambda: path.near.lost and path.far.lost)


@pytest_twisted.ensureDeferred
async def test_half_open_tells_the_coordinators_side_only(path: Path) -> None:
    path.proxy.half_open()
    await until(lambda: path.far.lost)
    path.near.transport.write(b"is anybody there?")
    await deferLater(reactor, 0.1)
    assert path.near.lost is None
    path.proxy.clear()
    await until(lambda: path.near.lost)


@pytest_twisted.ensureDeferred
async def test_a_black_hole_answers_nobody(path: Path) -> None:
    path.proxy.up.silent = path.proxy.down.silent = True
    endpoint = TCP4ClientEndpoint(reactor, HERE, path.proxy.port)
    late = await connectProtocol(endpoint, Peer())
    late.transport.write(b"hello?")
    await deferLater(reactor, 0.1)
    assert late.came == b""
    path.proxy.clear()
    await until(lambda: late.lost)
