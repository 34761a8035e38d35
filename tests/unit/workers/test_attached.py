"""The listener of a job's output: bounded in flight, whole, in order."""

from __future__ import annotations

from ampacity.protocol.limits import OUTPUT_IN_FLIGHT
from ampacity.workers.attached import Attached
from twisted.internet.defer import Deferred


class Listener:
    def __init__(self):
        self.sent, self.answers, self.pauses = [], [], []
        self.attached = Attached(self.send, lambda *pause: self.pauses.append(pause))

    def send(self, stream, offset, data):
        self.sent.append((stream, data))
        self.answers.append(Deferred())
        return self.answers[-1]


def test_at_most_so_many_in_flight_and_the_rest_in_order():
    listener = Listener()
    for number in range(OUTPUT_IN_FLIGHT + 3):
        listener.attached.printed(1, 0, b"%d" % number)
    assert len(listener.sent) == OUTPUT_IN_FLIGHT
    assert listener.pauses == [(1, True)]
    called = []
    assert not listener.attached.over(lambda: called.append(1))
    for answer in listener.answers[:3]:
        answer.callback(True)
    assert [data for _, data in listener.sent] == [b"%d" % n for n in range(OUTPUT_IN_FLIGHT + 3)]
    assert listener.pauses[-1] == (1, False)
    assert called == [1]


def test_nobody_listens():
    listener = Listener()
    for _ in range(OUTPUT_IN_FLIGHT + 3):
        listener.attached.printed(2, 0, b"x")
    listener.answers[0].callback(False)
    assert listener.pauses == [(2, True), (2, False)]
    listener.attached.printed(2, 0, b"y")
    assert len(listener.sent) == OUTPUT_IN_FLIGHT
    assert listener.attached.over(lambda: None)
    assert listener.attached.deaf


def test_a_lost_listener_is_none():
    listener = Listener()
    listener.attached.printed(1, 0, b"x")
    listener.answers[0].errback(ConnectionError())
    assert listener.attached.deaf
