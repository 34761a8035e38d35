"""Work of many owners takes turns."""

from __future__ import annotations

from typing import Any

from ampacity.protocol.fairness import FairGate
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure


class Work:
    """What was begun, by name, and what waits."""

    def __init__(self, gate: FairGate) -> None:
        self.gate = gate
        self.begun: list[str] = []
        self.open: dict[str, Deferred[str]] = {}

    def add(self, owner: str, name: str) -> Deferred[str]:
        def begin() -> Deferred[str]:
            self.begun.append(name)
            self.open[name] = Deferred()
            return self.open[name]

        return self.gate.run(owner, begin)

    def end(self, name: str) -> None:
        self.open.pop(name).callback(name)


def test_owners_take_turns_whatever_they_ask_for() -> None:
    work = Work(FairGate(2, 1))
    done = [work.add("a", f"a{n}") for n in range(5)]
    done += [work.add("b", "b0"), work.add("c", "c0"), work.add("b", "b1")]
    while work.open:
        work.end(next(iter(work.open)))
    assert work.begun == ["a0", "b0", "a1", "c0", "b1", "a2", "a3", "a4"]
    assert all(one.called for one in done)


def test_one_owner_leaves_room_for_others() -> None:
    work = Work(FairGate(4, 2))
    for n in range(9):
        work.add("a", f"a{n}")
    work.add("b", "b0")
    assert work.begun == ["a0", "a1", "b0"]


def test_what_fails_or_is_cancelled_gives_its_place_up() -> None:
    work = Work(FairGate(1, 1))
    first, second, third = (work.add("a", f"a{n}") for n in range(3))
    ends: list[Any] = []
    for one in (first, second):
        one.addErrback(lambda failure: ends.append(failure.type))
    second.cancel()
    work.open["a0"].errback(Failure(ZeroDivisionError()))
    assert ends == [CancelledError, ZeroDivisionError]
    assert work.begun == ["a0", "a2"]
    work.end("a2")
    assert third.called
    assert FairGate.__slots__
    fresh = work.add("a", "a3")
    work.end("a3")
    assert fresh.called
