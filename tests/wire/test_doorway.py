"""The door with a clock: who is let in to the greeting when, and at whose cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ampacity.coordinator.antechamber import OWN_SECOND
from ampacity.coordinator.doorway import LOOK, Doorway, Knock, address_of, most_in_line
from ampacity.coordinator.greeting import Greeting
from ampacity.protocol import commands, limits
from ampacity.protocol.connection import Connection
from ampacity.protocol.turns import Turn
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.protocols import amp

PLACES = 4


class Guest:
    """Somebody who knocks: the far end of a transport."""

    def __init__(self, knock: Knock, transport: Any) -> None:
        self.knock = knock
        self.transport = transport
        transport.protocol = knock
        knock.makeConnection(transport)

    @property
    def waits(self) -> bool:
        return bool(self.transport.connected and self.transport.producerState == "paused")

    @property
    def greeted(self) -> bool:
        return bool(self.transport.connected and not self.waits)

    def say(self, data: bytes) -> None:
        assert not self.waits
        self.transport.protocol.dataReceived(data)

    def hello(self) -> None:
        box = {"versions": [1], "role": "client", "software": "0"}
        arguments = commands.Hello.makeArguments(box, None)
        ask = {amp.COMMAND: b"Hello", amp.ASK: b"1"}
        self.say(amp.AmpBox({**arguments, **ask}).serialize())


class Far:
    """A door that is open to whoever says hello, as that of the UNIX socket."""

    def __init__(self, clock: Any, core: Any, transport: Callable[[], Any]) -> None:
        self.clock = clock
        self.doorway = Doorway(clock, PLACES, line=8)
        self.gate = self.doorway.gate(self.greet)
        self.core = core
        self.let_in: list[Connection] = []
        self.connections: list[Connection] = []
        self._transport = transport

    def greet(self, knock: Knock) -> Connection:
        connection = Connection(clock=self.clock)
        self.connections.append(connection)
        Greeting(connection, self.clock, self.core, self._admit, None, knock)
        return connection

    def _admit(self, connection: Connection, role: str, client: str) -> amp.CommandLocator:
        self.let_in.append(connection)
        return amp.CommandLocator()

    def come(self, count: int = 1, host: str = "10.0.0.1") -> list[Guest]:
        address = IPv4Address("TCP", host, 1)
        made = [
            Guest(self.gate.buildProtocol(address), self._transport())  # type: ignore[arg-type]
            for _ in range(count)
        ]
        self.clock.advance(0)
        return made

    def fail(self, times: int, host: str = "10.0.0.1") -> None:
        for _ in range(times):
            (guest,) = self.come(host=host)
            while guest.waits:
                self.clock.advance(LOOK)
            guest.say(b"GET / HTTP/1.1\r\n\r\n" * 20)
            assert not guest.transport.connected


@pytest.fixture
def far(clock: Any, core: Any, memory_transport: Callable[[], Any]) -> Any:
    far = Far(clock, core, memory_transport)
    yield far
    far.doorway.close()
    for connection in far.connections:
        connection.abort()
    clock.advance(0)
    assert clock.getDelayedCalls() == []


def test_so_many_are_greeted_and_the_others_wait_unread(far: Far) -> None:
    guests = far.come(PLACES + 3)
    assert [guest.greeted for guest in guests] == [True] * PLACES + [False] * 3
    assert len(far.connections) == PLACES
    guests[0].hello()
    assert [guest.greeted for guest in guests] == [True] * (PLACES + 1) + [False] * 2
    guests[1].transport.loseConnection()
    assert [guest.waits for guest in guests[-2:]] == [False, True]


def test_who_is_in_has_nothing_in_between_any_more(far: Far) -> None:
    (guest,) = far.come()
    guest.hello()
    assert guest.transport.protocol is far.connections[0]
    assert far.let_in == far.connections
    assert (far.doorway.greeted, far.doorway.waiting) == (0, 0)


def test_the_silent_yield_after_their_second_while_others_wait(far: Far, clock: Any) -> None:
    silent = far.come(PLACES)
    clock.advance(2 * OWN_SECOND)
    assert all(guest.greeted for guest in silent)  # nobody waits
    friends = far.come(2, "10.0.0.2")
    assert [guest.transport.connected for guest in silent] == [False, False, True, True]
    assert all(guest.greeted for guest in friends)


def test_500_silent_ones_do_not_keep_a_friend_behind_their_address_out(
    far: Far, clock: Any
) -> None:
    silent = far.come(PLACES + 7)
    (friend,) = far.come()
    waited = 0.0
    while friend.waits:
        clock.advance(LOOK)
        waited += LOOK
    assert waited < 3 * OWN_SECOND + 0.5
    assert not silent[0].transport.connected
    friend.hello()


def test_bytes_that_trickle_in_keep_no_place(far: Far, clock: Any) -> None:
    slow = far.come(PLACES)
    (friend,) = far.come(host="10.0.0.2")
    waited = 0.0
    while friend.waits:
        clock.advance(0.5)
        waited += 0.5
        for guest in slow:
            if guest.transport.connected:
                guest.say(b"\0")
    assert waited <= limits.GREETING_SECONDS


def test_of_a_line_that_is_full_the_last_of_the_longest_is_closed(far: Far) -> None:
    guests = far.come(PLACES + 8)
    (friend,) = far.come(host="10.0.0.2")
    assert not guests[-1].transport.connected
    assert friend.waits
    (late,) = far.come()
    assert not late.transport.connected


def test_addresses_that_fail_wait_longer_and_longer(far: Far, clock: Any) -> None:
    far.fail(6)
    (guest,) = far.come()
    (friend,) = far.come(host="10.0.0.2")
    assert (guest.waits, friend.greeted) == (True, True)
    clock.advance(0.15)
    assert guest.waits
    clock.advance(0.1)
    assert guest.greeted
    guest.hello()  # forgiven
    assert all(guest.greeted for guest in far.come(3))


def test_who_says_nothing_in_time_has_failed(far: Far, clock: Any) -> None:
    far.fail(3)
    guests = far.come(2)
    clock.advance(limits.GREETING_SECONDS)
    assert not any(guest.transport.connected for guest in guests)
    (guest,) = far.come()
    assert guest.waits


def test_who_only_looks_at_the_port_has_not_failed(far: Far) -> None:
    for _ in range(20):
        (guest,) = far.come()
        guest.transport.loseConnection()
    assert far.come()[0].greeted


def test_time_in_which_we_were_stopped_is_nobodys(far: Far, clock: Any) -> None:
    guests = far.come(PLACES)
    clock.advance(limits.GREETING_SECONDS + 30.0)
    assert all(guest.greeted for guest in guests)
    clock.advance(limits.GREETING_SECONDS)
    assert not any(guest.greeted for guest in guests)


def test_handshakes_share_a_turn_of_the_reactor(
    far: Far, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the time of a turn does not suffice for is held, and comes in order with the next."""
    guests = far.come(3)
    monkeypatch.setattr(Turn, "is_over", lambda _: True)
    for guest in guests:
        guest.hello()
    assert far.let_in == []
    assert all(guest.waits for guest in guests)
    monkeypatch.undo()
    far.come()  # a turn begins
    for _ in range(4):
        clock.advance(0)
    assert len(far.let_in) == 3
    assert all(g.transport.protocol in far.let_in for g in guests)


def test_closing_sends_everybody_away_who_waits(far: Far) -> None:
    guests = far.come(PLACES + 3)
    far.doorway.close()
    assert [guest.transport.connected for guest in guests] == [True] * PLACES + [False] * 3
    guests[0].transport.loseConnection()
    assert far.doorway.greeted == PLACES - 1


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (IPv4Address("TCP", "192.0.2.7", 5), "192.0.2.7"),
        (IPv6Address("TCP", "2001:db8:1:2:3:4:5:6", 5), "2001:db8:1:2::/64"),
        (IPv6Address("TCP", "::ffff:192.0.2.7", 5), "192.0.2.7"),
        (IPv6Address("TCP", "fe80::1%eth0", 5), "fe80::/64"),
        (UNIXAddress(None), ""),
        (None, ""),
    ],
)
def test_who_shares_an_address(peer: Any, address: str) -> None:
    assert address_of(peer) == address


def test_the_line_leaves_descriptors_for_those_who_are_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, most in ((1024, 384), (100, 64), (1 << 20, 4096), (-1, 4096)):
        monkeypatch.setattr("resource.getrlimit", lambda _, soft=soft: (soft, soft))
        assert most_in_line() == most
