"""The network and the time of the virtual cluster do what is said of them."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from ampacity.testing.timeline import START, Machine, Process, Timeline
from ampacity.testing.wire import Network
from twisted.internet import error
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory, Protocol


class Ear(Protocol):
    """Remembers what it hears."""

    transport: Any

    def __init__(self) -> None:
        self.heard = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


class World:
    """Two machines, a process on each, and a door."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.network = Network(self.timeline, Random(5))
        self.near, self.far = (Machine(self.timeline, name) for name in ("near", "far"))
        self.here, self.there = Process(self.near, "near.1"), Process(self.far, "far.1")
        self.here.connect = self.there.connect = self.network.connect
        self.server = Ear()
        self.network.listen("door", self.there, lambda: self.server)

    def dial(self, door: str = "door") -> Any:
        return UNIXClientEndpoint(self.here, door).connect(Factory.forProtocol(Ear))

    def connect(self) -> Ear:
        dialled: list[Ear] = []
        self.dial().addCallback(dialled.append)
        self.wait()
        return dialled[0]

    def wait(self, seconds: float = 0.1) -> None:
        self.timeline.run_until(self.timeline.now + seconds)


@pytest.fixture
def world() -> World:
    return World()


def test_bytes_arrive_whole_and_late(world: World) -> None:
    client = world.connect()
    said = bytes(range(256)) * 1000
    for start in range(0, len(said), 999):
        client.transport.write(said[start : start + 999])
    assert world.server.heard == b""
    world.wait(1.0)
    assert world.server.heard == said


def test_a_stalled_direction_keeps_what_is_sent_until_it_is_healed(world: World) -> None:
    client = world.connect()
    world.network.stall(world.near, world.far)
    client.transport.write(b"one")
    world.server.transport.write(b"two")
    world.wait(30.0)
    assert (world.server.heard, client.heard) == (b"", b"two")
    client.transport.loseConnection()
    world.wait(30.0)
    assert not world.server.lost
    world.network.heal(world.near, world.far)
    world.wait()
    assert (world.server.heard, world.server.lost) == (b"one", True)


def test_a_reset_ends_both_sides(world: World) -> None:
    client = world.connect()
    client.transport.write(b"gone")
    world.network.reset(world.near, world.far)
    world.wait()
    assert (world.server.heard, world.server.lost, client.lost) == (b"", True, True)


def test_the_killed_are_noticed_and_those_without_power_are_not(world: World) -> None:
    client = world.connect()
    world.there.kill()
    world.wait()
    assert client.lost
    other = World()
    silent = other.connect()
    other.far.off = True
    other.there.kill()
    silent.transport.write(b"anybody?")
    other.wait(60.0)
    assert not silent.lost
    other.far.off = False
    silent.transport.write(b"now?")
    other.wait()
    assert silent.lost, "a kernel that knows of no such connection resets it"


def test_dialling(world: World) -> None:
    failed: list[Any] = []
    world.dial("nowhere").addErrback(failed.append)
    world.wait()
    assert failed[0].check(error.ConnectionRefusedError)
    world.network.stall(world.near, world.far)
    waiting = world.dial()
    waiting.addErrback(failed.append)
    world.wait(60.0)
    assert len(failed) == 1
    waiting.cancel()
    assert failed[1].check(error.ConnectingCancelledError)


def test_a_slow_reader_slows_the_writer(world: World) -> None:
    client = world.connect()
    asked: list[str] = []

    class Producer:
        def pauseProducing(self) -> None:
            asked.append("pause")

        def resumeProducing(self) -> None:
            asked.append("resume")

    world.server.transport.pauseProducing()
    client.transport.registerProducer(Producer(), True)
    client.transport.write(b"x" * 100_000)
    world.wait()
    assert (asked, world.server.heard) == (["pause"], b"")
    world.server.transport.resumeProducing()
    world.wait()
    assert len(world.server.heard) == 100_000
    assert asked[-1] == "resume"


def test_who_is_paused_does_everything_later_timers_first(world: World) -> None:
    client = world.connect()
    done: list[tuple[str, float]] = []

    def note(what: str) -> None:
        done.append((what, world.timeline.now - START))

    world.server.dataReceived = lambda data: note("read")  # type: ignore[method-assign]
    world.there.pause()
    client.transport.write(b"x")
    world.there.callLater(2.0, note, "second")
    world.there.callLater(1.0, note, "first")
    world.timeline.after(5.0, world.there.go_on)
    world.wait(10.0)
    assert [what for what, _ in done] == ["first", "second", "read"]
    assert all(when > 5.0 for _, when in done)


def test_the_dead_do_nothing_any_more(world: World) -> None:
    done: list[str] = []
    world.here.callLater(1.0, done.append, "late")
    world.here.kill()
    world.here.callLater(0.0, done.append, "later")
    world.wait(2.0)
    assert done == []
    assert world.here.getDelayedCalls() == []
