"""The ladder of signals."""

from __future__ import annotations

import signal

from ampacity.workers.ending import Grace, Ladder
from twisted.internet.task import Clock


def test_each_signal_has_its_grace():
    clock, sent = Clock(), []
    ladder = Ladder(clock, Grace(), lambda number: sent.append((clock.seconds(), number)))
    ladder.climb()
    clock.pump([0.5] * 10)
    assert sent == [(0.0, signal.SIGINT), (1.0, signal.SIGTERM), (3.0, signal.SIGKILL)]
    assert ladder.last is signal.SIGKILL
    assert clock.getDelayedCalls() == []


def test_it_stops_with_the_process():
    clock, sent = Clock(), []
    ladder = Ladder(clock, Grace(interrupt=2), sent.append)
    ladder.climb()
    ladder.stop()
    clock.advance(10)
    assert sent == [signal.SIGINT]
    assert ladder.last is signal.SIGINT
