"""Peers share each turn of the reactor."""

from __future__ import annotations

from collections.abc import Callable

from ampacity.protocol.turns import LONGEST, TURN, Turn
from twisted.internet.task import Clock


class Slow(Clock):
    """A clock that only goes on while work is done; a turn takes no time."""

    def work(self, seconds: float) -> None:
        self.rightNow += seconds

    def turn(self) -> None:
        for call in [call for call in self.calls if call.getTime() <= self.seconds()]:
            self.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)


class Peer:
    """It has so many boxes, each of which takes half a turn."""

    def __init__(
        self, name: str, boxes: int, clock: Slow, done: list[str], owner: str | None = None
    ) -> None:
        self.name, self.boxes, self.clock, self.done = name, boxes, clock, done
        self.owner = owner or name
        self.turn = Turn.of(clock)

    def read(self) -> None:
        while self.boxes:
            if self.turn.is_over():
                self.turn.next(self.read, self.owner)
                return
            self.boxes -= 1
            self.clock.work(TURN * 0.6)
            self.done.append(self.name)


def everything(clock: Slow, peers: list[Peer], each: Callable[[], None]) -> None:
    for peer in peers:
        peer.read()
    while any(peer.boxes for peer in peers):
        each()
        clock.turn()


def test_a_turn_is_shared_and_who_waits_is_first() -> None:
    clock, done = Slow(), list[str]()
    peers = [Peer("a", 4, clock, done), Peer("b", 3, clock, done), Peer("c", 2, clock, done)]
    everything(clock, peers, lambda: done.append("|"))
    assert "".join(done) == "aa|aa|bb|cc|b"


def test_a_turn_that_is_not_full_has_room_for_others() -> None:
    clock, done = Slow(), list[str]()
    peers = [Peer("a", 1, clock, done), Peer("b", 1, clock, done), Peer("c", 1, clock, done)]
    everything(clock, peers, lambda: done.append("|"))
    assert "".join(done) == "ab|c"
    clock.turn()
    assert clock.getDelayedCalls() == []


def test_many_connections_of_one_owner_have_one_turn_between_them() -> None:
    clock, done = Slow(), list[str]()
    crowd = [Peer("x", 4, clock, done, "the crowd") for _ in range(50)]
    lone = Peer("o", 4, clock, done)
    everything(clock, [*crowd, lone], lambda: done.append("|"))
    assert "".join(done).rindex("o") < len("xx|xx|oo|xx|oo|")


def test_who_waits_outside_of_a_turn_gets_one() -> None:
    clock, done = Slow(), list[str]()
    turn = Turn.of(clock)
    turn.next(lambda: done.append("a"), "a")
    turn.next(lambda: done.append("b"), "b")
    clock.turn()
    clock.turn()
    assert done == ["a", "b"]


def test_each_reactor_has_turns_of_its_own() -> None:
    one, other = Slow(), Slow()
    assert Turn.of(one) is Turn.of(one)
    assert Turn.of(one) is not Turn.of(other)


def test_who_leaves_nothing_does_not_wait_behind_those_who_do() -> None:
    clock = Slow()
    turn = Turn.of(clock)
    assert not turn.is_over("flood")
    clock.work(TURN * 1.1)
    assert turn.is_over("flood")
    turn.next(lambda: clock.work(TURN * 1.1), "flood")
    clock.turn()
    assert turn.is_over(), "what was left has used it up"
    assert not turn.is_over("calm")
    clock.work(TURN * 0.5)
    assert not turn.is_over("calm")
    clock.work(TURN * 0.6)
    assert turn.is_over("calm"), "its own share is used up, too"


def test_leftovers_have_one_share_between_them() -> None:
    clock, done = Slow(), list[str]()
    turn = Turn.of(clock)
    for owner in "abc":

        def read(owner: str = owner) -> None:
            while not turn.is_over(owner):
                done.append(owner)
                clock.work(TURN * 0.6)

        turn.next(read, owner)
    clock.turn()
    assert "".join(done) == "aa"
    clock.turn()
    assert "".join(done) == "aabb"


def test_no_turn_is_longer_than_the_longest() -> None:
    clock = Slow()
    turn = Turn.of(clock)
    begun, served = clock.seconds(), 0
    while not turn.is_over(served):
        served += 1
        clock.work(TURN * 0.4)
    assert LONGEST <= clock.seconds() - begun < LONGEST + TURN
    turn.next(lambda: None, served)
    clock.turn()
    assert not turn.is_over(served + 1), "the next one is a new one"
