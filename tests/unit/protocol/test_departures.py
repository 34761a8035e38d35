"""What is written in one piece of work leaves at its end, in one call, or the usual way."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import attrs
import pytest
from ampacity.protocol.departures import AT_ONCE, LATE_ANSWERS, Departures, Outlet
from ampacity.protocol.errors import TooLarge
from ampacity.protocol.limits import BOX_BYTES
from twisted.internet import main, tcp, unix
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure


class Turns(Clock):
    """A reactor whose looks at its sockets are taken by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard

    def look(self) -> None:
        """Let those write that wait and can; end those that cannot any more."""
        for transport in [*self.writers]:
            if select.select([], [transport], [], 0)[1]:
                why = transport.doWrite()
                if why is not None:
                    transport.connectionLost(Failure(why))


class Ends(Protocol):
    """Remembers why it has ended."""

    reason: Any = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason.value


class Ways:
    """A transport with a real socket of a kind that keeps apart what is sent by one call."""

    def __init__(self, turns: Turns, kind: int = socket.SOCK_SEQPACKET) -> None:
        near, self.far = socket.socketpair(socket.AF_UNIX, kind)
        self.far.setblocking(False)
        self.turns = turns
        self.protocol = Ends()
        self.transport: Any = unix.Server(near, self.protocol, b"", None, 0, turns)
        self.protocol.makeConnection(self.transport)
        self.outlet = Outlet(Departures.of(turns))
        self.outlet.open(self.transport)

    def heard(self) -> list[bytes]:
        """What came over there, by calls, or in pieces."""
        found: list[bytes] = []
        try:
            while data := self.far.recv(1 << 20):
                found.append(data)
        except BlockingIOError:
            pass
        return found

    def close(self) -> None:
        self.outlet.close()
        if self.transport.connected:
            self.transport.connectionLost(Failure(main.CONNECTION_DONE))
        self.far.close()


@attrs.frozen
class Listed:
    """A transport that writes down who was written to, and what."""

    told: list[str]
    name: str

    def write(self, data: bytes) -> None:
        self.told.append(f"{self.name} {data.decode()}")


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def ways(turns: Turns) -> Iterator[Ways]:
    made = Ways(turns)
    yield made
    made.close()
    assert not turns.getDelayedCalls()


@pytest.fixture
def stream(turns: Turns) -> Iterator[Ways]:
    made = Ways(turns, socket.SOCK_STREAM)
    made.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    yield made
    made.close()


def test_a_piece_of_work_sends_once_and_at_once(ways: Ways) -> None:
    with ways.outlet.departures:
        ways.outlet.write(b"one")
        ways.outlet.write(b"two")
        assert ways.heard() == []
    assert ways.heard() == [b"onetwo"]
    assert not ways.turns.writers, "the reactor has nothing to look for"


def test_work_inside_of_work_ends_with_it(ways: Ways) -> None:
    with ways.outlet.departures:
        with ways.outlet.departures:
            ways.outlet.write(b"inner")
        ways.outlet.write(b"outer")
    assert ways.heard() == [b"innerouter"]


def test_work_that_fails_has_sent_what_it_wrote(ways: Ways) -> None:
    with pytest.raises(ZeroDivisionError), ways.outlet.departures:
        ways.outlet.write(b"before")
        raise ZeroDivisionError
    assert ways.heard() == [b"before"]


def test_outside_of_work_the_reactor_writes(ways: Ways) -> None:
    ways.outlet.write(b"one")
    assert ways.heard() == []
    ways.turns.look()
    assert ways.heard() == [b"one"]


def test_connections_leave_in_the_order_of_their_first_words(turns: Turns, ways: Ways) -> None:
    order: list[str] = []
    ones, others = Outlet(Departures.of(turns)), Outlet(Departures.of(turns))
    ones.open(Listed(order, "one"))
    others.open(Listed(order, "other"))
    with Departures.of(turns):
        others.write(b"1")
        ones.write(b"2")
        others.write(b"3")
    assert order == ["other 13", "one 2"]


def test_what_the_socket_does_not_take_follows(stream: Ways) -> None:
    sent = b"".join(b"%07d," % number for number in range(6000))
    with stream.outlet.departures:
        stream.outlet.write(sent)
    heard = b"".join(stream.heard())
    assert 0 < len(heard) < len(sent)
    assert stream.turns.writers
    with stream.outlet.departures:
        stream.outlet.write(b"behind")
    while stream.turns.writers:
        stream.turns.look()
        heard += b"".join(stream.heard())
    assert heard == sent + b"behind"
    with stream.outlet.departures:
        stream.outlet.write(b"at once again")
    assert stream.heard() == [b"at once again"]


def test_a_socket_that_takes_nothing_gets_it_later(stream: Ways) -> None:
    stream.transport.write(bytes(100_000))
    stream.turns.look()
    while stream.turns.writers and select.select([], [stream.transport], [], 0)[1]:
        stream.turns.look()
    stream.transport.dataBuffer, stream.transport.offset = b"", 0  # as if it were all sent
    stream.turns.writers.clear()
    with stream.outlet.departures:
        stream.outlet.write(b"last")
    assert stream.turns.writers
    heard = b"".join(stream.heard())
    while stream.turns.writers:
        stream.turns.look()
        heard += b"".join(stream.heard())
    assert heard.endswith(b"last")
    assert b"last" not in heard[:-4]


def test_what_waits_in_the_transport_goes_first(ways: Ways) -> None:
    ways.transport.write(b"first ")
    with ways.outlet.departures:
        ways.outlet.write(b"second")
    ways.turns.look()
    assert b"".join(ways.heard()) == b"first second"


def test_a_lost_connection_is_the_reactors_to_end(ways: Ways) -> None:
    ways.far.close()
    with ways.outlet.departures:
        ways.outlet.write(b"nobody hears it")
    assert ways.protocol.reason is None, "nobody is called back within a write"
    ways.turns.look()
    assert ways.protocol.reason is main.CONNECTION_LOST


def test_what_was_written_before_the_end_is_sent(ways: Ways) -> None:
    with ways.outlet.departures:
        ways.outlet.write(b"last words")
        ways.outlet.leave()
        ways.transport.loseConnection()
        ways.outlet.write(b", and more")
    ways.turns.look()
    assert b"".join(ways.heard()) == b"last words, and more"
    assert ways.protocol.reason is main.CONNECTION_DONE


def test_what_an_abort_finds_is_dropped(ways: Ways) -> None:
    with ways.outlet.departures:
        ways.outlet.write(b"dropped")
        ways.outlet.close()
    assert ways.heard() == []
    assert not ways.turns.writers


def test_tls_that_was_begun_later_is_not_gone_round(turns: Turns, ways: Ways) -> None:
    told: list[bytes] = []
    ways.transport.TLS = True
    ways.transport.write = told.append
    with ways.outlet.departures:
        ways.outlet.write(b"se")
        ways.outlet.write(b"cret")
    assert told == [b"secret"]
    assert ways.heard() == []


def test_any_other_transport_is_written_to_once(turns: Turns) -> None:
    told: list[str] = []
    outlet = Outlet(Departures.of(turns))
    outlet.open(Listed(told, "it"))
    with outlet.departures:
        outlet.write(b"one")
        outlet.write(b"two")
    assert told == ["it onetwo"]


def test_a_transport_without_the_known_buffers_is_asked_to_write(
    ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ampacity.protocol.departures._WAITING", "_of_a_later_twisted")
    ways.outlet.open(ways.transport)
    with ways.outlet.departures:
        ways.outlet.write(b"one")
    assert ways.heard() == []
    ways.turns.look()
    assert ways.heard() == [b"one"]


def test_much_does_not_wait_for_the_end_of_the_work(turns: Turns) -> None:
    transport = StringTransport()
    outlet = Outlet(Departures.of(turns))
    outlet.open(transport)
    with outlet.departures:
        outlet.write(b"a")
        outlet.write(bytes(AT_ONCE))
        assert len(transport.value()) == 1 + AT_ONCE
        for _ in range(3):
            outlet.write(bytes(AT_ONCE // 2))
        assert len(transport.value()) == 1 + 2 * AT_ONCE
    assert len(transport.value()) == 1 + 2 * AT_ONCE + AT_ONCE // 2


def test_a_box_over_the_limit_is_refused(ways: Ways) -> None:
    with ways.outlet.departures, pytest.raises(TooLarge):
        ways.outlet.write(bytes(BOX_BYTES + 1))


def test_it_works_on_tcp_as_well(turns: Turns) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, address = server.accept()
    protocol = Ends()
    reactor: Any = turns
    port: Any = None
    transport = tcp.Server(near, protocol, address, port, 0, reactor)
    outlet = Outlet(Departures.of(turns))
    outlet.open(transport)
    with outlet.departures:
        outlet.write(b"hello")
    far.settimeout(5)
    assert far.recv(100) == b"hello"
    protocol.makeConnection(transport)
    transport.connectionLost(Failure(main.CONNECTION_DONE))
    far.close()


# -- the end of a turn ----------------------------------------------------------------------------


def test_what_ends_the_turn_takes_along_what_was_written_before(turns: Turns, ways: Ways) -> None:
    departures = ways.outlet.departures
    with departures:
        ways.outlet.write(b"an answer, ")
        departures.later(0, lambda: ways.outlet.write(b"and what followed"))
    assert ways.heard() == []
    turns.advance(0)
    assert ways.heard() == [b"an answer, and what followed"]


def test_all_that_ends_a_turn_goes_together(turns: Turns, ways: Ways) -> None:
    for word in (b"one", b"two"):
        ways.outlet.departures.later(0, partial(ways.outlet.write, word))
    assert len(turns.getDelayedCalls()) == 1
    turns.advance(0)
    assert ways.heard() == [b"onetwo"]


def test_a_mistake_does_not_keep_the_rest_from_leaving(
    turns: Turns, ways: Ways, logged_errors: Any
) -> None:
    departures = ways.outlet.departures
    departures.later(0, lambda: 1 // 0)
    departures.later(0, lambda: ways.outlet.write(b"the rest"))
    turns.advance(0)
    assert ways.heard() == [b"the rest"]
    assert logged_errors(ZeroDivisionError)


def test_what_asks_for_another_turn_holds_nothing_back(turns: Turns, ways: Ways) -> None:
    departures = ways.outlet.departures

    def twice() -> None:
        ways.outlet.write(b"first")
        departures.later(0, lambda: ways.outlet.write(b"second"))

    departures.later(0, twice)
    turns.advance(0)
    assert ways.heard() == [b"first", b"second"], "the second has not held up the first"


def test_what_is_urgent_does_not_wait_for_the_end_of_the_turn(turns: Turns, ways: Ways) -> None:
    departures = ways.outlet.departures
    departures.later(0, partial(ways.outlet.write, b"the end"))
    ways.outlet.write(b"before, ")
    departures.at_once(partial(ways.outlet.write, b"urgent"))
    assert ways.heard() == [b"before, urgent"]
    turns.advance(0)
    assert ways.heard() == [b"the end"]


def test_later_work_is_a_piece_of_its_own(turns: Turns, ways: Ways) -> None:
    ways.outlet.departures.later(1.0, lambda: ways.outlet.write(b"in a second"))
    with ways.outlet.departures:
        ways.outlet.write(b"now")
    assert ways.heard() == [b"now"]
    turns.advance(1.0)
    assert ways.heard() == [b"in a second"]


# -- answers that can wait -------------------------------------------------------------------------


def test_a_late_answer_goes_with_the_next_words(turns: Turns, ways: Ways) -> None:
    with ways.outlet.departures:
        ways.outlet.write(b"answer,", 0.005)
    assert ways.heard() == []
    with ways.outlet.departures:
        ways.outlet.write(b"order")
    assert ways.heard() == [b"answer,order"]


def test_a_late_answer_goes_with_words_that_wait(ways: Ways) -> None:
    with ways.outlet.departures:
        ways.outlet.write(b"order,")
        ways.outlet.write(b"answer", 0.005)
    assert ways.heard() == [b"order,answer"]


def test_a_late_answer_waits_no_longer_than_it_may(turns: Turns, ways: Ways) -> None:
    ways.outlet.write(b"answer", 0.005)
    turns.advance(0.004)
    assert ways.heard() == []
    turns.advance(0.002)
    assert ways.heard() == [b"answer"]


def test_some_late_answers_are_enough(ways: Ways) -> None:
    for _ in range(LATE_ANSWERS):
        with ways.outlet.departures:
            ways.outlet.write(b"x", 0.005)
    assert ways.heard() == [b"x" * LATE_ANSWERS]


def test_a_late_answer_is_not_after_words_outside_of_work(turns: Turns, ways: Ways) -> None:
    ways.outlet.write(b"answer,", 0.005)
    ways.outlet.write(b"words")
    turns.look()
    assert ways.heard() == [b"answer,words"]


def test_a_late_answer_ends_with_its_connection(turns: Turns, ways: Ways) -> None:
    ways.outlet.write(b"answer", 0.005)
    ways.outlet.close()
    assert not turns.getDelayedCalls()
