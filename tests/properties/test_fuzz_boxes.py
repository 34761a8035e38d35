"""Any bytes at the parser of boxes, and at a connection; stock AMP says what is right."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from ampacity.protocol import commands
from ampacity.protocol.boxes import BoxReader
from ampacity.protocol.connection import Connection
from ampacity.protocol.errors import TooLarge
from ampacity.protocol.limits import Caps
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols import amp
from twisted.python.failure import Failure

from .amounts import examples
from .watching import nothing_goes_wrong

Pair = tuple[bytes, bytes]

keys = st.sampled_from([b"_ask", b"_answer", b"_command", b"_error", b"k"]) | st.binary(
    min_size=1, max_size=255
)
values = st.binary(max_size=300) | st.integers(0, 0xFFFF).map(bytes)
# as pairs and not as a dictionary: a key may stand twice
wire_boxes = st.lists(st.tuples(keys, values), min_size=1, max_size=8)
cuts = st.lists(st.integers(0, 70_000), max_size=20)


def on_the_wire(pairs: Sequence[Pair]) -> bytes:
    parts = [len(part).to_bytes(2, "big") + part for pair in pairs for part in pair]
    return b"".join(parts) + b"\0\0"


def pieces(data: bytes, at: Sequence[int]) -> Iterator[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in at)})
    return (data[start:stop] for start, stop in itertools.pairwise(edges))


class Stock(amp.BinaryBoxProtocol):
    """Twisted's own parser; ``boxes`` are those that it made."""

    def __init__(self) -> None:
        self.boxes: list[amp.AmpBox] = []
        super().__init__(self)
        self.makeConnection(StringTransport())

    def startReceivingBoxes(self, sender: object) -> None: ...

    def stopReceivingBoxes(self, reason: object) -> None: ...

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        self.boxes.append(box)


@examples(60)
@given(sent=st.lists(wire_boxes, max_size=4), at=cuts)
def test_boxes_are_those_of_stock_amp(sent: list[list[Pair]], at: list[int]) -> None:
    data = b"".join(map(on_the_wire, sent))
    stock, reader = Stock(), BoxReader(1 << 22)
    stock.dataReceived(data)
    got = [box for piece in pieces(data, at) for box, _ in reader.read(piece)]
    assert got == stock.boxes
    assert len(got) == len(sent)


@examples(60)
@given(sent=st.lists(wire_boxes, max_size=3), rest=st.binary(max_size=400), at=cuts)
def test_where_the_cuts_are_makes_no_difference(
    sent: list[list[Pair]], rest: bytes, at: list[int]
) -> None:
    data = b"".join(map(on_the_wire, sent)) + rest
    assert _read(pieces(data, at)) == _read([data])


def _read(parts: Any) -> tuple[list[amp.AmpBox], str]:
    """The boxes, and why there are no more."""
    boxes: list[amp.AmpBox] = []
    reader = BoxReader(3000, 6)
    try:
        for part in parts:
            for box, _ in reader.read(part):
                boxes.append(box)
    except TooLarge as e:
        return boxes, str(e)
    return boxes, ""


@examples(100)
@given(
    data=st.lists(st.binary(max_size=300) | wire_boxes.map(on_the_wire), max_size=12),
    at=cuts,
    most=st.integers(0, 2000),
    most_keys=st.integers(0, 10),
)
def test_what_is_held_has_a_bound(
    data: list[bytes], at: list[int], most: int, most_keys: int
) -> None:
    reader = BoxReader(most, most_keys)
    try:
        for piece in pieces(b"".join(data), at):
            for box, size in reader.read(piece):
                assert len(box) <= most_keys
                assert size <= most + 2 * 2 * (most_keys + 1)
            held = sum(len(key) + len(value) for key, value in reader._box.items())
            held += len(reader._rest) + len(reader._key or b"")
            assert held <= most + 2
    except TooLarge as e:
        assert len(str(e)) < 100


# -- the same at a connection ---------------------------------------------------------------------


class Transport(StringTransport):
    """Closing is reported at once."""

    protocol: Connection

    def loseConnection(self) -> None:
        self._lost(ConnectionDone())

    def abortConnection(self) -> None:
        self._lost(ConnectionAborted())

    def unregisterProducer(self) -> None:
        self.producer = None

    def _lost(self, why: Exception) -> None:
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(why))


class Locator(amp.CommandLocator):
    """Answers a few commands, of which all types of arguments are."""

    @commands.Cancel.responder
    def cancel(self, jobs: Any, queued_only: bool) -> dict[str, Any]:
        return {"states": []}

    @commands.Submit.responder
    def submit(self, **given: Any) -> dict[str, Any]:
        raise TooLarge("not today")

    @commands.Hello.responder
    def hello(self, **given: Any) -> dict[str, Any]:
        return {"version": 1, "software": "x", "store": b"s" * 16, "term": 1, "open": True}


NAMES = [b"Cancel", b"Submit", b"Hello", b"Ping", b"Shutdown", b"Nothing", b"", b"\xff"]
FIELDS = [b"jobs", b"jobs.1", b"queued_only", b"sequence", b"group", b"versions", b"role"]
asked = st.builds(
    lambda name, tag, fields: [
        (b"_command", name),
        *([] if tag is None else [(b"_ask", tag)]),
        *fields,
    ],
    st.sampled_from(NAMES),
    st.none() | st.binary(min_size=0, max_size=9),
    st.lists(st.tuples(st.sampled_from(FIELDS) | keys, st.binary(max_size=40)), max_size=6),
)


@examples(150)
@given(
    sent=st.lists(asked | wire_boxes, max_size=6), rest=st.binary(max_size=30), at=cuts,
    admitted=st.booleans(),
)  # fmt: skip
def test_no_box_makes_a_connection_fail(
    sent: list[list[Pair]], rest: bytes, at: list[int], admitted: bool
) -> None:
    clock = Clock()
    connection = Connection(Locator(), clock, Caps(box_bytes=2000, box_keys=9))
    transport = Transport()
    transport.protocol = connection
    with nothing_goes_wrong():
        connection.makeConnection(transport)
        if admitted:
            connection.admit(connection.locator)
        for piece in pieces(b"".join(map(on_the_wire, sent)) + rest, at):
            connection.dataReceived(piece)
            clock.advance(0)
        for box in amp.parseString(transport.value()):
            assert amp.ANSWER in box or amp.ERROR in box
        transport.loseConnection()
        clock.advance(1)
    assert clock.getDelayedCalls() == []
